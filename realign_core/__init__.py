"""The mathematics of denoising-time realignment, on torch and einops alone. Each module cites its equations."""

from .fewer_calls import ControlVariate, DifferenceReuse, even_span, velocity_scale
from .gaussian import Gaussian, ImproperMixtureError, geometric_mixture, max_lambda, realignment_weights
from .listed import listed_values, plain_number
from .posterior import (
    MixedStep,
    MixedSteps,
    NoiseLevel,
    kl_increment,
    mixed_step,
    noise_prediction,
    posterior_variance,
    reverse_posterior,
)
from .prediction import (
    MERGED,
    Answers,
    Ask,
    Evaluator,
    Exact,
    Prediction,
    combine,
    on_elements,
    separate,
)
from .sampling import (
    Sample,
    element_mean,
    gaussian_noise,
    kl_increments,
    per_element,
    realigned_sample,
    sample_steps,
)
from .schedule import LambdaSchedule
from .sweep import LAMBDAS, MOST_CELLS, Cell, Sweep, even_values, lambdas_for_betas
from .trace import Trace

__all__ = [
    "LAMBDAS",
    "MERGED",
    "MOST_CELLS",
    "Answers",
    "Ask",
    "Cell",
    "ControlVariate",
    "DifferenceReuse",
    "Evaluator",
    "Exact",
    "Gaussian",
    "ImproperMixtureError",
    "LambdaSchedule",
    "MixedStep",
    "MixedSteps",
    "NoiseLevel",
    "Prediction",
    "Sample",
    "Sweep",
    "Trace",
    "combine",
    "element_mean",
    "even_span",
    "even_values",
    "gaussian_noise",
    "geometric_mixture",
    "kl_increment",
    "kl_increments",
    "lambdas_for_betas",
    "listed_values",
    "max_lambda",
    "mixed_step",
    "noise_prediction",
    "on_elements",
    "per_element",
    "plain_number",
    "posterior_variance",
    "realigned_sample",
    "realignment_weights",
    "reverse_posterior",
    "sample_steps",
    "separate",
    "velocity_scale",
]
