"""
What lies in Redis, and the only ways in which it changes.

`keys` has every key and field. `lua_scripts` loads the scripts that lie beside it; `script_calls` has one typed
function for each of them, and `script_runner` runs its calls. `address` reads what REDIS_URL may say, `connections`
opens connections.
"""
