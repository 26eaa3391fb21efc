"""Spectral powers of a matrix: A ↦ V f(Σ) Uᵀ for A = U Σ Vᵀ.

One exponent p names the whole family. With f(σ) = σᵖ on the singular values that are kept,

========= ===================== =============================================
p         V Σᵖ Uᵀ               step it gives when A is a Jacobian
========= ===================== =============================================
+1        Aᵀ                    gradient descent
0         transposed polar      orthogonalised: all directions equally long
          factor
−1/2      half-inverse          half-inverse gradient
−1        pseudo-inverse        Gauss-Newton
========= ===================== =============================================

Which singular values are kept is decided by `rcond`, relative to the largest one of the same matrix, so that A ↦ cA
keeps the same ones. Two modes treat the others: "truncate" sets f to zero there, "clamp" takes σ·max(σ, τ)^(p−1) with
τ = rcond·σ_max, which equals σᵖ above τ and falls to zero with σ below it. In both modes f(0) = 0 for every p.

Three routes lead to V f(Σ) Uᵀ g. The SVD of a matrix is the reference; not inside a function that XLA compiles, whose
own SVD resolves about 1e-6 of the largest singular value, in float64 too. For a `StackedJacobian` it is
Jᵀ (J Jᵀ)^((p−1)/2) g by the eigenvalues σ² of J Jᵀ in float64, or of JᵀJ if that is smaller. Squaring costs precision:
the step's error grows like ε/rcond², so this route takes no `rcond` below `SMALLEST_GRAM_RCOND`. And a few products
with J, or with J Jᵀ, reduce it to a small matrix in the directions that matter for g, see `golub_kahan`.
"""

from physgrad_tf.spectral import gram
from physgrad_tf.spectral.bidiagonal import Bidiagonal, golub_kahan, lanczos
from physgrad_tf.spectral.dense import apply_spectral_power, half_inverse, pseudo_inverse, spectral_power
from physgrad_tf.spectral.filter import Mode as Mode
from physgrad_tf.spectral.filter import spectral_filter
from physgrad_tf.spectral.step import SpectralStep, spectral_step

#: The smallest `rcond` of the route through J Jᵀ; below it, the eigenvalues σ² drown in the rounding of the largest.
SMALLEST_GRAM_RCOND = gram.SMALLEST_GRAM_RCOND

__all__ = [
    "SMALLEST_GRAM_RCOND",
    "Bidiagonal",
    "SpectralStep",
    "apply_spectral_power",
    "golub_kahan",
    "half_inverse",
    "lanczos",
    "pseudo_inverse",
    "spectral_filter",
    "spectral_power",
    "spectral_step",
]
