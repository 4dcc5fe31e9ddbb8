"""What commands say about constraints."""

HELP = (
    "bands:S: in each band of spatial frequency, S times the contrast that is just visible; "
    "bands:S:19 if pixels look twice as large. jod:9.75: the S at which the worst of many patterns "
    "keeps that JOD (extra: visibility). linf:3: at most 3 grey levels. jnd:0.38: at most that "
    "share of each pixel's just-noticeable difference. l0:500: at most 500 pixels. none: no limit."
)
