"""The last import of the fork server: forks share what was imported, and collect only what they make themselves."""

import gc

gc.freeze()  # else a collection in each fork copies the pages of all that was imported, a third of what its start costs
