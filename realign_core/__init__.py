"""The mathematics of denoising-time realignment, on torch and einops alone. Each module cites its equations."""

from .correction import Correction, correction_weight, disagreement, guarded
from .fewer_calls import ControlVariate, DifferenceReuse, even_span, velocity_scale
from .front import hypervolume, on_front
from .gaussian import Gaussian, ImproperMixtureError, geometric_mixture, max_lambda, realignment_weights
from .listed import listed_values, plain_number
from .particles import ParticleRun, check_groups, check_particles, particle_sample, particle_steps
from .population import Particles
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
from .preference import Liked, Picks, Preference, liked
from .regression import KERNELS
from .resampling import SCHEMES, effective_sample_size, log_mean_weight, normalised, pool, resample
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
from .search import Curve, Found, Limit, Search, Seen
from .sweep import LAMBDAS, MOST_CELLS, Cell, Sweep, even_values, lambdas_for_betas
from .tilt import GRADIENTS, POTENTIALS, TEMPERINGS, Reward, Tilt, Twist
from .trace import Trace

__all__ = [
    "GRADIENTS",
    "KERNELS",
    "LAMBDAS",
    "MERGED",
    "MOST_CELLS",
    "POTENTIALS",
    "SCHEMES",
    "TEMPERINGS",
    "Answers",
    "Ask",
    "Cell",
    "ControlVariate",
    "Correction",
    "Curve",
    "DifferenceReuse",
    "Evaluator",
    "Exact",
    "Found",
    "Gaussian",
    "ImproperMixtureError",
    "LambdaSchedule",
    "Liked",
    "Limit",
    "MixedStep",
    "MixedSteps",
    "NoiseLevel",
    "ParticleRun",
    "Particles",
    "Picks",
    "Prediction",
    "Preference",
    "Reward",
    "Sample",
    "Search",
    "Seen",
    "Sweep",
    "Tilt",
    "Trace",
    "Twist",
    "check_groups",
    "check_particles",
    "combine",
    "correction_weight",
    "disagreement",
    "effective_sample_size",
    "element_mean",
    "even_span",
    "even_values",
    "gaussian_noise",
    "geometric_mixture",
    "guarded",
    "hypervolume",
    "kl_increment",
    "kl_increments",
    "lambdas_for_betas",
    "liked",
    "listed_values",
    "log_mean_weight",
    "max_lambda",
    "mixed_step",
    "noise_prediction",
    "normalised",
    "on_elements",
    "on_front",
    "particle_sample",
    "particle_steps",
    "per_element",
    "plain_number",
    "pool",
    "posterior_variance",
    "realigned_sample",
    "realignment_weights",
    "resample",
    "reverse_posterior",
    "sample_steps",
    "separate",
    "velocity_scale",
]
