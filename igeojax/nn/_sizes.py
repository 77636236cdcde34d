"""Sizes that both forms of the layers check."""


def head_size(features: int, num_heads: int) -> int:
    """Entries of a head.

    Raises:
      ValueError: the heads do not share the features, or an odd number of entries is left to each.
    """
    if features % num_heads or (features // num_heads) % 2:
        raise ValueError(
            f"features must be an even multiple of num_heads; got {features} features for "
            f"{num_heads} heads. Each head turns pairs of its entries by position."
        )
    return features // num_heads
