-- Greets twice a second. Edit plugins/greeter.c while it runs: the next greeting is the new code's,
-- and the count goes on.
local hot = require "hotlua"

local here = arg[0]:match("^(.*)/") or "."
local source, object = here .. "/plugins/greeter.c", here .. "/build/greeter.so"

local greeter = hot.load(object, {
  watch = { source },
  build = ("mkdir -p %s/build && cc -g -shared -fPIC -o %s %s"):format(here, object, source),
  on = {
    loaded = function(_, report)
      if report.from > 0 then print("-- " .. tostring(report)) end
    end,
    failed = function(report) print("-- " .. tostring(report)) end,
  },
})

hot.every(500, function()
  print(greeter.api.greet("world"))
end)
hot.run()
