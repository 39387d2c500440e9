-- Many plugins of one interface: a chain made of all that lie in a folder.
local hot = require "hotlua"

local here = arg[0]:match("^(.*)/") or "."
assert(os.execute(("make -s -C '%s'"):format(here)))

local steps = hot.load_dir(here .. "/build", {
  expect = { apply = "double apply(double)" },
  on = {
    loaded = function(plugin, report)
      print(("%s %s"):format(report.from == 0 and "new" or "changed", plugin.name))
    end,
    failed = print,
  },
})

local function run_chain(x)
  local names = {}
  for name, plugin in steps:each() do
    x = plugin.api.apply(x)
    names[#names + 1] = name
  end
  return x, table.concat(names, " > ")
end

hot.every(500, function()
  print(("%.2f  %s"):format(run_chain(1)))
end)
if arg[1] then hot.after(tonumber(arg[1]) * 1000, hot.stop) end
hot.run()
