"""The networks of the host's list, small, by the class's name."""

from specs_image import IMAGES
from specs_unet import UNETS
from specs_video import VIDEOS

NETWORKS = UNETS | IMAGES | VIDEOS
