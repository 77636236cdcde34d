"""Mixtures of any family as an estimator of scikit-learn, which is needed for this module alone.

`from igeojax.em.sklearn import ExponentialFamilyMixture`: pipelines, cross-validation and grids of
parameters then work as with `sklearn.mixture.GaussianMixture`, under the same names.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from igeojax.em.mixture import Mixture
from igeojax.em.priors import MixturePrior, data_prior, mixture_prior
from igeojax.families.base import ExponentialFamily
from igeojax.families.categorical import Categorical
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.isotropic_normal import IsotropicNormal
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.product import Product

try:
    from sklearn.base import BaseEstimator, DensityMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "igeojax.em.sklearn needs scikit-learn 1.6 or later; it is not installed. Run "
        "`pip install scikit-learn`, or use igeojax.em.Mixture, which needs no more than JAX."
    ) from error

COVARIANCES = {
    "full": MultivariateNormal,
    "tied": MultivariateNormal,
    "diag": DiagonalNormal,
    "spherical": IsotropicNormal,
}
"""Normal families by the names that scikit-learn gives their covariances."""

SHRINKAGE = 0.1
"""Share of the mean variance in the covariance that a full prior is centered at."""


class ExponentialFamilyMixture(DensityMixin, BaseEstimator):
    """A mixture of members of any exponential family, with the methods of `GaussianMixture`.

    Args:
      n_components: number of components.
      family: an `ExponentialFamily` whose observations are the rows, or a `Product` whose factors
        take the columns in order (labels of a `Categorical` as numbers); None for normal laws.
      covariance_type: of normal laws, `"full"`, `"tied"`, `"diag"` or `"spherical"`.
      missing: whether nan marks a missing entry, see `igeojax.families.missing`.
      prior_count: observations that the member fitted to all data counts for in each component, see
        `igeojax.em.data_prior`: the guard against components that collapse; with it a full
        covariance needs no more rows than columns. 0 for maximum likelihood.
      weight_concentration: of the Dirichlet law of the weights; below 1 prunes components.
      tol: least gain in mean log-posterior (nats an observation) to go on.
      max_iter: most EM steps.
      n_init: independent starts, of which the best is kept.
      init_params: `"k-means++"` or `"random"`.
      random_state: seed, or a numpy `RandomState`.

    After `fit`: `mixture_` and `params_` (the model and its parameters), `weights_`, `converged_`,
    `n_iter_`, `lower_bound_` (mean log-posterior), `lower_bounds_`, `n_features_in_`.

    Examples:
      >>> x = np.array([[-5.1], [-5.0], [-4.9], [5.2], [5.0], [4.8]])
      >>> labels = ExponentialFamilyMixture(2, random_state=0).fit_predict(x)
      >>> bool((labels[:3] == labels[0]).all() & (labels[3:] == 1 - labels[0]).all())
      True
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        family: ExponentialFamily | None = None,
        covariance_type: str = "full",
        missing: bool = False,
        prior_count: float = 0.01,
        weight_concentration: float = 1.0,
        tol: float = 1e-6,
        max_iter: int = 200,
        n_init: int = 1,
        init_params: str = "k-means++",
        random_state: Any = None,
    ):
        self.n_components = n_components
        self.family = family
        self.covariance_type = covariance_type
        self.missing = missing
        self.prior_count = prior_count
        self.weight_concentration = weight_concentration
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing
        return tags

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "ExponentialFamilyMixture":
        """Fit by EM: the parameters of largest posterior density.

        Args:
          X: shape `(N, features)`, N >= 2.
          y: ignored.
          sample_weight: non-negative, shape `(N,)`; None weighs all alike.

        Returns:
          The estimator itself.

        Raises:
          ValueError: data of a wrong shape or off the support, or an option out of range.

        Examples:
          >>> from igeojax import families
          >>> counts = np.array([[1], [2], [1], [30], [31], [29]])
          >>> model = ExponentialFamilyMixture(2, family=families.Poisson(), random_state=0)
          >>> model.fit(counts).weights_.round(3).tolist()
          [0.5, 0.5]
        """
        X = self._validated(X, reset=True)
        tied = self.family is None and self.covariance_type == "tied"
        self.mixture_ = Mixture(
            self._family(X.shape[1]), self.n_components, tied=tied, missing=self.missing
        )
        data = _observations(self.mixture_.family, X)
        weights = None if sample_weight is None else np.asarray(sample_weight, X.dtype)
        if weights is not None and not weights.any():
            raise ValueError(
                "sample_weight must have a positive entry; got zero weight for every row. Pass "
                "None to weigh all alike."
            )
        found = self.mixture_.fit(
            data,
            key=self._key(),
            weights=weights,
            prior=self._prior(data, weights),
            initialization=self.init_params,
            num_restarts=self.n_init,
            tolerance=self.tol,
            max_iterations=self.max_iter,
        )
        self.params_ = found.params
        self.weights_ = np.exp(found.params.log_weights)
        self.converged_ = bool(found.converged)
        self.n_iter_ = int(found.num_iterations)
        self.lower_bounds_ = np.asarray(found.log_likelihoods)[: self.n_iter_ + 1]
        self.lower_bound_ = float(self.lower_bounds_[-1])
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit, and the label of each row.

        Args:
          X: shape `(N, features)`.
          y: ignored.
          sample_weight: non-negative, shape `(N,)`.

        Returns:
          Labels from 0, shape `(N,)`.

        Examples:
          >>> ExponentialFamilyMixture().fit_predict(np.array([[1.0], [2.0]])).tolist()
          [0, 0]
        """
        return self.fit(X, y, sample_weight).predict(X)

    def predict(self, X: Any) -> np.ndarray:
        """Number of the component of largest posterior probability.

        Args:
          X: shape `(N, features)`.

        Returns:
          Labels from 0, shape `(N,)`.

        Examples:
          >>> model = ExponentialFamilyMixture().fit(np.array([[1.0], [2.0]]))
          >>> model.predict(np.array([[1.5]])).tolist()
          [0]
        """
        return self._asked("predict", X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Posterior probabilities of the components.

        Args:
          X: shape `(N, features)`.

        Returns:
          Rows that sum to one, shape `(N, n_components)`.

        Examples:
          >>> model = ExponentialFamilyMixture().fit(np.array([[1.0], [2.0]]))
          >>> model.predict_proba(np.array([[1.5]])).tolist()
          [[1.0]]
        """
        return self._asked("predict_proba", X)

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of each row.

        Args:
          X: shape `(N, features)`.

        Returns:
          Nats, shape `(N,)`.

        Examples:
          >>> model = ExponentialFamilyMixture(prior_count=0.0).fit(np.array([[-1.0], [1.0]]))
          >>> model.score_samples(np.array([[0.0]])).round(6).tolist()
          [-0.918939]
        """
        return self._asked("log_density", X)

    def score(  # pyright: ignore[reportIncompatibleMethodOverride]  # its base says None
        self, X: Any, y: Any = None, sample_weight: Any = None
    ) -> float:
        """Mean log-density, in nats a row.

        Args:
          X: shape `(N, features)`.
          y: ignored.
          sample_weight: non-negative, shape `(N,)`.

        Returns:
          The mean.

        Examples:
          >>> model = ExponentialFamilyMixture(prior_count=0.0).fit(np.array([[-1.0], [1.0]]))
          >>> round(model.score(np.array([[0.0]])), 6)
          -0.918939
        """
        return float(self._asked("score", X, sample_weight))

    def bic(self, X: Any) -> float:
        """Schwarz's criterion; lower is better.

        Args:
          X: shape `(N, features)`.

        Returns:
          The criterion.

        Examples:
          >>> x = np.array([[-1.0], [1.0]])
          >>> round(ExponentialFamilyMixture(prior_count=0.0).fit(x).bic(x), 6)
          7.062048
        """
        return float(self._asked("bic", X))

    def aic(self, X: Any) -> float:
        """Akaike's criterion; lower is better.

        Args:
          X: shape `(N, features)`.

        Returns:
          The criterion.

        Examples:
          >>> x = np.array([[-1.0], [1.0]])
          >>> round(ExponentialFamilyMixture(prior_count=0.0).fit(x).aic(x), 6)
          9.675754
        """
        return float(self._asked("aic", X))

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows, and the components that they come from.

        Args:
          n_samples: number of rows.

        Returns:
          Rows of shape `(n_samples, features)`, and labels.

        Raises:
          ValueError: `n_samples < 1`.

        Examples:
          >>> model = ExponentialFamilyMixture(random_state=0).fit(np.array([[1.0], [2.0]]))
          >>> [part.shape for part in model.sample(3)]
          [(3, 1), (3,)]
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1; got {n_samples}. Draw one or more.")
        one, two = jax.random.split(self._key())
        labels = jax.random.categorical(one, self.params_.log_weights, shape=(n_samples,))
        chosen = jax.tree.map(lambda leaf: leaf[labels], self.params_.components)
        drawn = self.mixture_.family.sample(two, chosen)
        columns = [np.asarray(part).reshape(n_samples, -1) for part in jax.tree.leaves(drawn)]
        return np.concatenate(columns, axis=1), np.asarray(labels)

    def _asked(self, name: str, X: Any, *arguments: Any) -> np.ndarray:
        """What a method of the mixture says of rows."""
        check_is_fitted(self)
        data = _observations(self.mixture_.family, self._validated(X, reset=False))
        return np.asarray(getattr(self.mixture_, name)(self.params_, data, *arguments))

    def _validated(self, X: Any, *, reset: bool) -> np.ndarray:
        """Rows in the precision that JAX is set to."""
        finite = "allow-nan" if self.missing else True
        least = 2 if reset else 1
        X = validate_data(
            *(self, X),
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite=finite,
            ensure_min_samples=least,
        )
        return X.astype(jnp.result_type(X.dtype.type(0)), copy=False)

    def _family(self, num_features: int) -> ExponentialFamily:
        """The family of the rows.

        Raises:
          ValueError: an unknown covariance, or a family of another number of columns.
        """
        if self.family is None:
            if self.covariance_type not in COVARIANCES:
                raise ValueError(
                    f"covariance_type must be one of {', '.join(map(repr, COVARIANCES))}; got "
                    f"{self.covariance_type!r}. Check the spelling."
                )
            return COVARIANCES[self.covariance_type](num_features)
        needed = sum(_widths(self.family))
        if needed != num_features:
            raise ValueError(
                f"X must have {needed} features for {self.family}; got {num_features}. Each factor "
                "of a product takes its columns in order."
            )
        return self.family

    def _prior(self, data: Any, weights: Any) -> MixturePrior | None:
        """The prior of the fit; None for maximum likelihood."""
        mixture, concentration = self.mixture_, self.weight_concentration
        if self.prior_count == 0:
            return (
                None if concentration == 1 else mixture_prior(mixture, concentration=concentration)
            )
        # Of a full covariance the center is definite with few rows too.
        full = isinstance(mixture.family, MultivariateNormal)
        options = {"shrinkage": SHRINKAGE} if full else {}
        return data_prior(
            *(mixture, data, weights),
            count=self.prior_count,
            concentration=concentration,
            **options,
        )

    def _key(self) -> Any:
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        return jax.random.key(int(seed))


def _widths(family: ExponentialFamily) -> list[int]:
    """Columns of each factor that is no product."""
    if isinstance(family, Product):
        return [width for part in family.families for width in _widths(part)]
    return [int(np.prod(family.event_shape))]


def _observations(family: ExponentialFamily, X: np.ndarray) -> Any:
    """Observations of the family from the columns of a matrix."""
    if isinstance(family, Product):
        ends = np.cumsum([sum(_widths(part)) for part in family.families])[:-1]
        parts = zip(family.families, np.split(X, ends, axis=1), strict=True)
        return tuple(_observations(*part) for part in parts)
    x = X.reshape(X.shape[0], *family.event_shape)
    if isinstance(family, Categorical) and not np.isnan(x).any():
        labels = x.astype(int)
        # What is no whole number is no label: -1 is refused by name.
        return np.where(labels == x, labels, -1)
    return x
