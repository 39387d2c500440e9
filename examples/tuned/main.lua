-- A kernel tuned live: a version is taken if its spec passes and it is neither wrong nor slow.
local hot = require "hotlua"

local here = arg[0]:match("^(.*)/") or "."
local kernel = hot.load(here .. "/build/kernel.so", {
  watch = { here .. "/kernel.c" },
  build = ("mkdir -p %s/build && cc -g -O2 -shared -fPIC -o %s/build/kernel.so %s/kernel.c"):format(here, here, here),
  policy = hot.policy.tested(here .. "/spec/kernel_spec.lua"),
  rehearse = { shadow = 50, tolerance = 1e-6, slower = tonumber(os.getenv("SLOWER")) or 1.1 },
  on = {
    loaded = function(_, report)
      local shadow = report.rehearsal
      if report.from == 0 then return end
      print(("taken: %d calls took %.0f us, before %.0f us"):format(shadow.compared, shadow.new_us, shadow.old_us))
    end,
    failed = function(report) print("refused: " .. report.error:match("[^\n]*")) end,
  },
})

hot.every(250, function()
  local sum = 0
  for n = 1, 20 do sum = sum + kernel.api.zeta2(1000 * n) end
  print(("generation %d: %.9f"):format(kernel:info().generation, sum + kernel.api.polynomial(0.5)))
end)
if arg[1] then hot.after(tonumber(arg[1]) * 1000, hot.stop) end
hot.run()
