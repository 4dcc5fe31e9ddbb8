"""Stateful detectors, which compare each query of an account with its earlier queries."""

from iqattack.detection.blacklight import Blacklight
from iqattack.detection.contract import Detector, DetectorKind
from iqattack.detection.parse import DEFAULT, parse_detector

__all__ = ["DEFAULT", "Blacklight", "Detector", "DetectorKind", "parse_detector"]
