"""What commands say of constraints, and the one that holds where none is named."""

DEFAULT = "bands:2.5"

HELP = (
    "What an attacked image may be. bands:S limits the contrast of every band of spatial frequency "
    "to S times what is just visible there; at 2.5 no pattern costs more than a quarter of a JOD. "
    "jod:9.75 finds the S of each image that keeps so many JOD (extra: visibility); linf:3 is 3 "
    "grey levels; jnd:0.38 that share of the just-noticeable difference of each pixel, whose "
    "structures are seen; l0:500 so many pixels, none anything."
)
