-- An HTTP service whose handlers are native and reload under load.
local hot = require "hotlua"
local http = dofile((arg[0]:match("^(.*)/") or ".") .. "/http.lua")

local here = arg[0]:match("^(.*)/") or "."
local handlers = hot.load(here .. "/build/handlers.so", {
  watch = { here .. "/handlers.c" },
  build = ("mkdir -p %s/build && cc -g -O2 -shared -fPIC -o %s/build/handlers.so.new %s/handlers.c && "
    .. "mv %s/build/handlers.so.new %s/build/handlers.so"):format(here, here, here, here, here),
  expect = { "handle" },
  rehearse = function(api) assert(api.handle("GET", "/health", "").status == 200, "/health is not well") end,
  on = { loaded = function(_, report) if report.from > 0 then print(report) end end, failed = print },
})

local handle = handlers.api.handle
local server = http.serve("127.0.0.1", tonumber(arg[1]) or 8080, function(method, path, body)
  local response = handle(method, path, body)
  return response.status, response.type, hot.string(response.body)
end)
print(("listening on http://127.0.0.1:%d/"):format(server:getsockname().port))
hot.run()
