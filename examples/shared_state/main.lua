-- Threads and shared state: jobs of luv's thread pool call a plugin while it reloads. Save counter.c.
local hot = require "hotlua"
local uv = require "luv"

local here = arg[0]:match("^(.*)/") or "."
local counter = hot.load(here .. "/build/counter.so", {
  watch = { here .. "/counter.c" },
  build = ("mkdir -p %s/build && cc -g -O2 -shared -fPIC -o %s/build/counter.so %s/counter.c"):format(here, here, here),
  on = {
    loaded = function(_, report) if report.from > 0 then print(report) end end,
    failed = print,
  },
})

-- Runs in a thread of the pool, in a Lua state of its own; hot.get finds the same plugin there.
local function job()
  local api = require "hotlua".get("counter").api
  local added, until_ms = 0, require "luv".hrtime() + 20 * 1000000
  while require "luv".hrtime() < until_ms do
    local amount = api.weight()
    api.add(amount)
    added = added + amount
  end
  return added
end

local added, jobs, is_over = 0, 0, false
local work
work = uv.new_work(job, function(amount)
  added, jobs = added + amount, jobs + 1
  if not is_over then return work:queue() end
  jobs = jobs - 1
end)
for _ = 1, 4 do work:queue() end

hot.every(500, function()
  print(("%d jobs done, count %d, weight %d"):format(jobs, counter.api.total(), counter.api.weight()))
end)
if arg[1] then
  hot.after(tonumber(arg[1]) * 1000, function()
    is_over = true
    hot.sleep(200) -- the last jobs
    print(("the jobs added %d, the plugin counted %d"):format(added, counter.api.total()))
    hot.stop()
  end)
end
hot.run()
