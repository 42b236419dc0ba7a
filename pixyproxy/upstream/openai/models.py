"""The upstream's list of models: it is answered without buying anything."""

import openai

from pixyproxy.core.exceptions import PixyProxyException, UpstreamUnavailableError
from pixyproxy.upstream.openai.errors import connection_error, status_error

NO_LIST = (404, 405, 501)
"""What an upstream without a list of models answers."""


async def model_names(client: openai.AsyncOpenAI, *, deadline: float) -> list[str] | None:
    """The names of the upstream's models; None if it has no such list.

    Raises what a generation would raise if the upstream cannot be reached or refuses the key, and
    `UpstreamUnavailableError` if it does not answer within `deadline` seconds.
    """
    try:
        page = await client.models.list(timeout=deadline)
    except openai.APITimeoutError as error:
        raise UpstreamUnavailableError(f"The upstream does not answer within {deadline:g} s.") from error
    except openai.APIConnectionError as error:
        raise connection_error(error.__cause__ or error) from error
    except openai.APIStatusError as error:
        if error.status_code in NO_LIST:
            return None
        raise named(error, client) from error
    return sorted(model.id for model in page.data)


def named(error: openai.APIStatusError, client: openai.AsyncOpenAI) -> PixyProxyException:
    """The exception for an answer with an error."""
    return status_error(error, api_key=client.api_key)
