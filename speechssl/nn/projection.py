"""From the convolutions' channels to the transformer's: layer norm and a linear map, each optional."""

from torch import Tensor, nn


class FeatureProjection(nn.Module):
    """x [B, T, in_dim] to [B, T, dim]. `norm` and `linear` are public: a quantizer may want what lies between them."""

    def __init__(self, in_dim: int, dim: int, *, norm: bool = True, linear: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        if not linear and in_dim != dim:
            raise ValueError(f"without a projection the convolutions' {in_dim} channels must equal dim {dim}")
        self.norm = nn.LayerNorm(in_dim, eps=eps) if norm else nn.Identity()
        self.linear = nn.Linear(in_dim, dim) if linear else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Norm, then linear."""
        return self.linear(self.norm(x))
