"""Settings of the scorer: the platform's, and its own."""

from pydantic import Field, SecretStr

from fraud_assets.settings import Settings


class ApiSettings(Settings):
    """One frozen object per scorer process, read once in `python -m api`."""

    admin_token: SecretStr | None = Field(None, validation_alias="FRAUD_ADMIN_TOKEN")
    """Bearer token of `POST /admin/reload`; while unset, the route does not exist."""
