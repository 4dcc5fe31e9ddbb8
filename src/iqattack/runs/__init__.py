"""A run on disk: settings, log, images, results, resume."""

from iqattack.runs.behind import DefenceMeasures, measure_defence
from iqattack.runs.compare import ALLOWED, Comparison, compare
from iqattack.runs.detect import Detection, detect
from iqattack.runs.execute import Callbacks, execute
from iqattack.runs.how import How
from iqattack.runs.merge import merge
from iqattack.runs.profile import make_profile
from iqattack.runs.rescore import check_times, rescore, rescored_rows
from iqattack.runs.rescored import Rescored, Rescoring
from iqattack.runs.results import COLUMNS, Result
from iqattack.runs.run import Run
from iqattack.runs.settings import ModelRecord, Record, Settings
from iqattack.runs.shards import Shard
from iqattack.runs.summary import Means, Session, Summary, summarise
from iqattack.runs.survey import Survey
from iqattack.runs.surveying import make_survey
from iqattack.runs.traces import Reached, Trace, reached, read_traces, results_at, summary_at
from iqattack.runs.trust import UntrustedError, check_trusted
from iqattack.runs.universal import FILE as PERTURBATION
from iqattack.runs.universal import Laid, apply_universal, make_universal
from iqattack.runs.verify import Difference, VerifyResult, verify
from iqattack.runs.visibility import Meter, full_reference, measured, unmeasured

__all__ = [
    "ALLOWED",
    "COLUMNS",
    "PERTURBATION",
    "Callbacks",
    "Comparison",
    "DefenceMeasures",
    "Detection",
    "Difference",
    "How",
    "Laid",
    "Means",
    "Meter",
    "ModelRecord",
    "Reached",
    "Record",
    "Rescored",
    "Rescoring",
    "Result",
    "Run",
    "Session",
    "Settings",
    "Shard",
    "Summary",
    "Survey",
    "Trace",
    "UntrustedError",
    "VerifyResult",
    "apply_universal",
    "check_times",
    "check_trusted",
    "compare",
    "detect",
    "execute",
    "full_reference",
    "make_profile",
    "make_survey",
    "make_universal",
    "measure_defence",
    "measured",
    "merge",
    "reached",
    "read_traces",
    "rescore",
    "rescored_rows",
    "results_at",
    "summarise",
    "summary_at",
    "unmeasured",
    "verify",
]
