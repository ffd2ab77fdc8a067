"""The parts of a rendered image that vary, each of which can be fixed to what the phantoms of one cohort show."""

from typing import Literal

#: `contrast` of the tissues; `range` of the body that is seen, and the field of view; `resolution`: slice thickness and
#: blur, and the size of pixels in a box around the liver; `shape` of the patient; `noise` with cupping and streaks;
#: number, size and look of the `lesions`.
Part = Literal["contrast", "range", "resolution", "shape", "noise", "lesions"]
