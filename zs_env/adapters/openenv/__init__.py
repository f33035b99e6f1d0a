"""OpenEnv: the episodes behind a server, for every trainer that has a client of OpenEnv.

`zs_env.adapters.openenv.server` serves them, `zs_env.adapters.openenv.client` plays them, and
`zs_env.adapters.openenv.models` has what goes between. All need the extra ``openenv``.
"""
