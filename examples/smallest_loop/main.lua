-- The smallest reload: a loop that does nothing but call C. Save step.c while it runs.
local hot = require "hotlua"

local here = arg[0]:match("^(.*)/") or "."
local plugin = hot.load(here .. "/build/step.so", {
  watch = { here .. "/step.c" },
  build = ("mkdir -p %s/build && cc -g -shared -fPIC -o %s/build/step.so %s/step.c"):format(here, here, here),
})

local step = plugin.api.step -- may be kept for ever
for _ = 1, tonumber(arg[1]) or math.huge do
  print(step())
end
