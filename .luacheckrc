-- luacheck's settings: `make check-lint`
std = "lua54+busted"
max_line_length = 120
self = false
exclude_files = { "build" }
files["lua/hotlua/test/*.lua"] = { globals = { "io", "os" } }
files["spec"] = { max_line_length = 140, ignore = { "311" } } -- values on the way to the one that is looked at
