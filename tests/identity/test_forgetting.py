"""What a server remembers of bearers ends when their keys change, whenever that happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

from registrar_server.identity.credentials import Credentials
from registrar_server.identity.identity import Identity, Verified
from registrar_server.identity.key_sources import KeyFile
from registrar_server.identity.tokens import TokenRules, Tokens
from registrar_server.identity.trusted_keys import TrustedKeys
from registrar_server.jwt_settings import ASYMMETRIC
from tests.support.tokens import AUDIENCE, ISSUER, Issuer

CAMPUS = Issuer()


class ForgottenAtOnce(Tokens):
    """Tokens whose keys change in the turn of the event loop after each verification."""

    identity: Identity

    async def verify(self, bearer: str, now: float) -> Verified:
        """Verify a token."""
        asyncio.get_running_loop().call_soon(self.identity.forget_all)
        return await super().verify(bearer, now)


async def test_a_token_is_not_remembered_if_the_keys_change_before_its_caller_is_answered(tmp_path: Path) -> None:
    keys = TrustedKeys(KeyFile(CAMPUS.write_keys(tmp_path / "keys.json")), ASYMMETRIC, lambda: None)
    keys.load()
    tokens = ForgottenAtOnce(TokenRules(ISSUER, [AUDIENCE], ASYMMETRIC), keys)
    tokens.identity = Identity([tokens], is_on=True)
    credentials = Credentials([f"Bearer {CAMPUS.token()}"])
    assert (await tokens.identity.identify(credentials)).actor == "jwt:ada"
    assert tokens.identity.recall(credentials) is None


async def test_a_changed_key_set_empties_the_cache_of_verified_tokens(tmp_path: Path) -> None:
    file = CAMPUS.write_keys(tmp_path / "keys.json")
    keys = TrustedKeys(KeyFile(file), ASYMMETRIC, lambda: identity.forget_all())
    keys.load()
    identity = Identity([Tokens(TokenRules(ISSUER, [AUDIENCE], ASYMMETRIC), keys)], is_on=True)
    credentials = Credentials([f"Bearer {CAMPUS.token()}"])
    await identity.identify(credentials)
    await keys.refresh()
    assert identity.recall(credentials) is not None
    Issuer("next").write_keys(file)
    await keys.refresh()
    assert identity.recall(credentials) is None
