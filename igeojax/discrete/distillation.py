"""Learning from the softened predictions of another model."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete import _scores
from igeojax.discrete.relative_entropy import aligned_logits, log_sum_exp_bregman


def distillation_loss(
    student_logits: Float[ArrayLike, "*batch classes"],
    teacher_logits: Float[ArrayLike, "*batch classes"],
    temperature: ArrayLike = 1.0,
) -> Float[Array, "*batch"]:
    """Distillation loss `t^2 KL(softmax(teacher / t) || softmax(student / t))`, on the last axis.

    The factor keeps the size of gradients as t grows, where the loss tends to half the variance of
    the difference of centered logits. Computed from that difference, it keeps its digits when the
    student is near the teacher and at high temperatures.

    Args:
      student_logits: scores of the model that learns.
      teacher_logits: scores of the model that is learned from; their gradient is taken too, stop it
        with `jax.lax.stop_gradient` if it is not wanted.
      temperature: `t > 0`, a scalar, may be traced.

    Returns:
      Non-negative values, in nats times `t^2`; inf where a class is impossible for the student
      only.

    Raises:
      TypeError: an argument is not made of real numbers.
      ValueError: scalars, different numbers of classes, or a `temperature` that is no scalar or not
        positive.

    References:
      [Hinton2015] section 2.

    Examples:
      >>> round(float(distillation_loss([0.0, 0.0], [2.0, 0.0], 2.0)), 4)
      0.4438
    """
    student, teacher = checks.floating_together(
        student_logits=student_logits, teacher_logits=teacher_logits
    )
    _scores.checked(student, "student_logits")
    _scores.checked(teacher, "teacher_logits")
    if student.shape[-1] != teacher.shape[-1]:
        raise ValueError(
            "student_logits and teacher_logits must have one number of classes; got "
            f"{student.shape[-1]} and {teacher.shape[-1]}. Select the classes that both share."
        )
    for name, scores in (("student_logits", student), ("teacher_logits", teacher)):
        checks.require_values(
            f"the largest of the {name} of a row",
            jnp.max(scores, axis=-1),
            np.isfinite,
            "finite",
            "Each row needs a possible class, and no nan or +inf.",
        )
    dtype = student.dtype
    student, teacher = jnp.broadcast_arrays(student, teacher)
    wide = jnp.promote_types(dtype, jnp.float32)
    student, teacher = student.astype(wide), teacher.astype(wide)
    t = _scores.positive_temperature(temperature, wide)
    points = (_scores.over_temperature(z, t) for z in aligned_logits(student, teacher))
    return (t * t * log_sum_exp_bregman(*points)).astype(dtype)
