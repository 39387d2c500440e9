-- Two threads add shapes without a pause and say every half second how far they are. Edit area_of in
-- plugins/shapes.c while they run: their next calls are the new code's, and no shape is lost. `main.lua
-- SECONDS` ends by itself.
local hot = require "hotlua"

local here = arg[0]:match("^(.*)/") or "."
local source, object = here .. "/plugins/shapes.c", here .. "/build/shapes.so"

local shapes = hot.load(object, {
  watch = { source },
  build = ("mkdir -p %s/build && cc -g -O1 -shared -fPIC -o %s %s"):format(here, object, source),
  on = {
    loaded = function(_, report)
      if report.from > 0 then print("-- " .. tostring(report)) end
    end,
    failed = function(report) print("-- " .. tostring(report)) end,
  },
})

-- Runs in a thread with a Lua state of its own: what it needs it gets as arguments.
local function add_shapes(number, name)
  local host = require "hotlua"
  local add = host.get(name).api.add
  local calls, area, is_over = 0, 0.0, false
  host.parent:on("message", function() is_over = true end)
  local telling = host.every(500, function() host.parent:send(calls, area) end)
  while not is_over do
    for _ = 1, 10000 do area = add(number, 2, 3) end
    calls = calls + 10000
    host.poll()
  end
  telling:stop() -- a thread goes on while its loop has something to wait for
  return calls
end

local workers = {}
for number = 0, 1 do
  local worker = hot.worker(add_shapes, number, shapes.name)
  worker:on("message", function(calls, area)
    print(("thread %d: %d shapes, area %.0f, %.2f each"):format(number, calls, area, area / calls))
  end)
  workers[#workers + 1] = worker
end

if arg[1] then hot.after(tonumber(arg[1]) * 1000, hot.stop) end
hot.run()

local sum = 0
for _, worker in ipairs(workers) do
  worker:send("enough")
  sum = sum + assert(worker:join())
end
print(("%d shapes by the threads' count, %d by the plugin's"):format(sum, shapes.api.count()))
