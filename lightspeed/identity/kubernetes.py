"""Authentication by the Kubernetes API: the module `k8s`."""

from starlette.requests import Request

from lightspeed.identity.bearer import bearer_token, rejected
from lightspeed.identity.kubernetes_errors import forbidden
from lightspeed.identity.kubernetes_module import KubernetesModule
from lightspeed.identity.kubernetes_user import ClusterUser
from lightspeed.identity.principal import Principal
from lightspeed.identity.user_names import is_plain

_ADMINISTRATOR = "kube:admin"


class KubernetesAuthentication(KubernetesModule[ClusterUser]):
    """Takes users of the cluster whom its rules let `get` the path `/ls-access`."""

    async def __call__(self, request: Request) -> Principal:
        """Raises Unauthorized, Forbidden or Unavailable, ClusterRefusal when the cluster refuses this service."""
        token = bearer_token(request)
        user = await self._reviews(token)
        return Principal(user.uid, user.name, token=token)

    async def _review(self, token: str) -> ClusterUser:
        user = await self._cluster.user(token)
        if user is None:
            raise rejected("Invalid or expired Kubernetes token")
        if user.name == _ADMINISTRATOR:
            # OpenShift's first administrator has no uid.
            user = ClusterUser(user.name, await self._cluster.id(), user.groups)
        for name, value in (("user name", user.name), ("user uid", user.uid)):
            if not value.strip() or not is_plain(value):
                raise rejected(f"Invalid Kubernetes token: missing or invalid {name}")
        if not await self._cluster.admits(user):
            raise forbidden(user.uid)
        return user
