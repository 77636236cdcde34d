"""The kernel of the E-step of normal mixtures; `_mixture_e_step` says what it computes."""

from __future__ import annotations

from kernels_triton._launch import jit, load_tile, tl


@jit
def _whitened(x, k, lanes, loc_ptr, inverse_ptr, FULL: tl.constexpr, BLOCK: tl.constexpr):
    difference = x - tl.load(loc_ptr + k * BLOCK + lanes)
    if FULL:
        across, down = tl.arange(0, BLOCK)[None, :], tl.arange(0, BLOCK)[:, None]
        turned = tl.load(inverse_ptr + (k * BLOCK + down) * BLOCK + across)
        return tl.dot(difference, turned, input_precision="ieee", out_dtype=x.dtype)
    return difference * tl.load(inverse_ptr + k * BLOCK + lanes)


@jit
def mixture_e_step_kernel(
    log_density_ptr,
    total_ptr,
    count_ptr,
    sum_ptr,
    square_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    n_rows,
    n_columns,
    weight_ptr,
    weight_stride,
    constant_ptr,
    loc_ptr,
    inverse_ptr,
    FULL: tl.constexpr,
    WEIGHTED: tl.constexpr,
    PER_ROW: tl.constexpr,
    COMPONENTS: tl.constexpr,
    STEPS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)[None, :]
    across, down = tl.arange(0, BLOCK)[None, :], tl.arange(0, BLOCK)[:, None]
    grand = tl.zeros((ROWS, 1), ACCUMULATOR)
    for step in range(STEPS):
        rows = (program * STEPS + step) * ROWS + tl.arange(0, ROWS)[:, None]
        columns = lanes.to(tl.int64)
        inside = (rows < n_rows) & (columns < n_columns)
        x = load_tile(
            x_ptr, rows * x_row_stride + columns * x_column_stride, inside, 0.0, ACCUMULATOR
        )
        weight = (rows < n_rows).to(ACCUMULATOR)
        if WEIGHTED:
            weight = load_tile(weight_ptr, rows * weight_stride, rows < n_rows, 0.0, ACCUMULATOR)
        # An infinity times the zeros of a triangle would be nan: such a row is told apart.
        infinite = tl.abs(x) == float("inf")
        far = tl.max(infinite.to(tl.int32), axis=1, keep_dims=True) > 0
        x = tl.where(infinite, 0.0, x)
        broken = tl.max((x != x).to(tl.int32), axis=1, keep_dims=True) > 0

        peak = tl.full((ROWS, 1), -float("inf"), ACCUMULATOR)
        total = tl.zeros((ROWS, 1), ACCUMULATOR)
        for k in range(COMPONENTS):
            z = _whitened(x, k, lanes, loc_ptr, inverse_ptr, FULL, BLOCK)
            joint = tl.load(constant_ptr + k) - 0.5 * tl.sum(z * z, axis=1, keep_dims=True)
            new_peak = tl.maximum(peak, joint)
            center = tl.where(new_peak == -float("inf"), 0.0, new_peak)
            total = total * tl.exp(peak - center) + tl.exp(joint - center)
            peak = new_peak
        density = tl.where(peak == -float("inf"), 0.0, peak) + tl.log(total)
        density = tl.where(far & (broken == 0), -float("inf"), density)
        if PER_ROW:
            tl.store(log_density_ptr + rows, density, mask=rows < n_rows)
        grand += tl.where(weight == 0.0, 0.0, weight * density)

        for k in range(COMPONENTS):
            z = _whitened(x, k, lanes, loc_ptr, inverse_ptr, FULL, BLOCK)
            joint = tl.load(constant_ptr + k) - 0.5 * tl.sum(z * z, axis=1, keep_dims=True)
            # Of density 0, and of weight 0, there is nothing to share out.
            nothing = (weight == 0.0) | (density == -float("inf"))
            mass = tl.where(nothing, 0.0, weight * tl.exp(joint - density))
            z = tl.where(mass == 0.0, 0.0, z)
            place = program * COMPONENTS + k
            # The partial sums of this program, which begin at 0.
            later = step > 0
            count = tl.load(count_ptr + place, mask=later, other=0.0)
            tl.store(count_ptr + place, count + tl.sum(tl.sum(mass, axis=1), axis=0))
            old = tl.load(sum_ptr + place * BLOCK + lanes, mask=later & (lanes >= 0), other=0.0)
            weighted = mass * z
            new = old + tl.sum(weighted, axis=0, keep_dims=True)
            tl.store(sum_ptr + place * BLOCK + lanes, new)
            if FULL:
                offsets = (place * BLOCK + down) * BLOCK + across
                old = tl.load(square_ptr + offsets, mask=later & (offsets >= 0), other=0.0)
                new = tl.dot(
                    tl.trans(weighted), z, old, input_precision="ieee", out_dtype=ACCUMULATOR
                )
            else:
                offsets = place * BLOCK + lanes
                old = tl.load(square_ptr + offsets, mask=later & (offsets >= 0), other=0.0)
                new = old + tl.sum(weighted * z, axis=0, keep_dims=True)
            tl.store(square_ptr + offsets, new)
        # Another thread may be the one that reads what this one has stored.
        tl.debug_barrier()
    tl.store(total_ptr + program, tl.sum(tl.sum(grand, axis=1), axis=0))
