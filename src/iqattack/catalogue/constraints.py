"""What commands say of constraints."""

HELP = (
    "bands:S: in each band of spatial frequency, S times the contrast that is just visible; "
    "bands:S:19 where pixels look twice as large. jod:9.75: the S at which the worst of many "
    "patterns keeps so many JOD (extra: visibility). linf:3: grey levels. jnd:0.38: of the "
    "just-noticeable difference of each pixel. l0:500: pixels. none: anything."
)
