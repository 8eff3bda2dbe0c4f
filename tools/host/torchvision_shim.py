"""Lets a CUDA build of torchvision be imported under CPU torch, in the test host's environment only.

Its Python half registers fake kernels for operators that its library would have defined; without the library they have
to be defined first. Installed as a .pth by `environment.py` where the real library cannot load.
"""

import sys


class _DefineOperatorsFirst:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            torch.library._realign_keep = library  # the definitions live as long as the object does
        return None


sys.meta_path.insert(0, _DefineOperatorsFirst())
