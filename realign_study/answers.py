"""What a host answers, read strictly: a server may be broken, or another program, or not mean well."""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import HostTrouble, RowFailed

READ = ConfigDict(strict=True, extra="ignore", frozen=True)
END = 1e300  # of numbers
MOST_PIXELS = 2**28  # of a picture: 16,384 × 16,384
Real = Annotated[float, Field(ge=-END, le=END)]
Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,64}$")]
Short = Annotated[str, Field(max_length=1000)]


class NodeError(BaseModel):
    model_config = READ
    message: str = ""
    details: str = ""


class NodeErrors(BaseModel):
    model_config = READ
    class_type: str = ""
    errors: list[NodeError] = []


class _Checked(BaseModel):
    """Of a graph that a host has checked."""

    model_config = READ
    node_errors: dict[str, NodeErrors] | list[Any] = {}

    def nodes_sentence(self) -> str:
        """What is wrong with nodes; "": nothing."""
        nodes = self.node_errors.values() if isinstance(self.node_errors, dict) else ()
        return "; ".join(f"{node.class_type}: {one.message} ({one.details})" for node in nodes for one in node.errors)


class Queued(_Checked):
    """Of POST /prompt. A graph of which some outputs can be had is accepted too, with what is wrong with others."""

    prompt_id: Id


class Refusal(_Checked):
    """Of POST /prompt where the graph is not accepted."""

    error: dict[str, Any] | str

    def sentence(self) -> str:
        whole = self.error if isinstance(self.error, str) else str(self.error.get("message", "refused"))
        return self.nodes_sentence() or whole


class File(BaseModel):
    """A picture on the host: only ever asked back from it, and never a name of anything here."""

    model_config = READ
    filename: Short
    subfolder: Short = ""
    type: Literal["temp", "output", "input"] = "output"


class Shown(BaseModel):
    """What a node showed."""

    model_config = READ
    images: list[File] = []
    text: list[str] = []


class Status(BaseModel):
    model_config = READ
    status_str: Short
    messages: list[tuple[str, dict[str, Any]]] = []


class Finished(BaseModel):
    """Of GET /history, a prompt's entry."""

    model_config = READ
    status: Status
    outputs: dict[str, dict[str, Any]]

    def shown(self, node: str) -> Shown:
        try:
            return Shown.model_validate(self.outputs.get(node, {}))
        except ValidationError:
            raise HostTrouble("answers what no ComfyUI says") from None

    def error(self) -> str:
        """What a node said that failed; "" where all went well."""
        if self.status.status_str == "success":
            return ""
        for kind, message in self.status.messages:
            if kind == "execution_error":
                return f"{message.get('node_type', 'A node')}: {str(message.get('exception_message', '')).strip()}"[
                    :2000
                ]
            if kind == "execution_interrupted":
                return "It was interrupted on the host."
        return "The host could not run it, and did not say why."

    def seconds(self) -> float:
        """By the host's clock; 0 where it does not say."""
        times = {kind: message.get("timestamp") for kind, message in self.status.messages}
        start, end = times.get("execution_start"), times.get("execution_success")
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= end - start < 2**40:
            return 0.0
        return (end - start) / 1000


class _System(BaseModel):
    model_config = READ
    comfyui_version: Short | None = None
    pytorch_version: Short | None = None


class _Device(BaseModel):
    model_config = READ
    name: Short = ""


class About(BaseModel):
    """Of GET /system_stats."""

    model_config = READ
    system: _System
    devices: list[_Device] = []

    def sentence(self) -> str:
        device = self.devices[0].name if self.devices else ""
        parts = (f"ComfyUI {self.system.comfyui_version}", f"torch {self.system.pytorch_version}", device)
        return ", ".join(part for part in parts if part and not part.endswith(" None"))[:300]


class _Anchor(BaseModel):
    model_config = READ
    beta: Real | None = None


class Traced(BaseModel):
    """Of a run's trace what a table has."""

    model_config = READ
    kl_reference: list[Real | None]
    model_calls: Real
    anchors: list[_Anchor] = []
    realign: Short | None = None  # the version that sampled

    @property
    def kl(self) -> float | None:
        """KL(realigned ‖ reference) of the one picture, nats."""
        return self.kl_reference[0] if self.kl_reference else None

    @property
    def beta(self) -> float | None:
        """What the one anchor was trained with."""
        return self.anchors[0].beta if len(self.anchors) == 1 else None


def read_text(kind: str, texts: list[str]) -> Any:
    """What a node showed as text: "trace" → Traced, "number" → float. Raises RowFailed and HostTrouble."""
    if not texts:
        raise RowFailed("A node that was to tell something told nothing.")
    if kind == "trace":
        try:
            return Traced.model_validate_json(texts[0])
        except ValidationError:
            raise HostTrouble("gave as a run's trace what is none") from None
    try:
        value = float(texts[0])
    except ValueError:
        raise HostTrouble("gave as a number what is none") from None
    if not math.isfinite(value):
        raise RowFailed(f"The number is {value}.")
    return value


@dataclass(frozen=True)
class Picture:
    """A PNG file that was opened."""

    width: int
    height: int
    pixels: str  # SHA-256 of size, mode and pixels: equal for equal pictures, whatever is written beside them


def opened(file: bytes) -> Picture:
    """Raises HostTrouble where it is no whole PNG file of a size that a picture has."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError("too large")
                image.load()
                said = f"{image.mode} {image.width}x{image.height}\0".encode()
                return Picture(image.width, image.height, hashlib.sha256(said + image.tobytes()).hexdigest())
    except Exception as error:  # whatever the library raises for such a file
        raise HostTrouble("gave as a picture what is no whole PNG file") from error
