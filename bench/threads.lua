-- luacheck: ignore 431/hot 431/threads (the function of the workers has its own)
-- Calls from several threads, with and without reloads meanwhile: hotlua beside a host that takes a pthread
-- rwlock around each call (threads.c), in one run. The callers are workers, the same for both.
local hot = require "hotlua"
local uv = require "luv"
local here = arg[0]:match("^(.*)/") or "."
local cc = os.getenv("CC") or "cc"

local ms = 300       -- of each measurement
local pause_ms = 2   -- between two reloads

local function run(command)
  assert(os.execute(command), command)
end

local pipe = assert(io.popen("mktemp -d -p /dev/shm 2>/dev/null || mktemp -d"))
local directory = pipe:read("l")
pipe:close()

local builds = {}
for i = 1, 2 do
  local c = ("%s/plugin%d.c"):format(directory, i)
  local file = assert(io.open(c, "w"))
  file:write(("int counter; int version(void) { return %d; }\nint add(int a, int b) { return a + b; }\n"):format(i))
  file:close()
  builds[i] = ("%s/built%d.so"):format(directory, i)
  run(("%s -O2 -g -shared -fPIC -o %s %s"):format(cc, builds[i], c))
end
run(("%s -O2 -shared -fPIC -pthread $(pkg-config --cflags lua5.4) -o %s/threads.so %s/threads.c -ldl"):format(
  cc, directory, here))
package.cpath = directory .. "/?.so;" .. package.cpath

local threads = require "threads"
local path = directory .. "/plugin.so"
assert(uv.fs_copyfile(builds[1], path))
local plugin = hot.load(path, { name = "plugin", watch = false })

local reloads = 0
local hosts = {
  hotlua = function()
    assert(uv.fs_copyfile(builds[reloads % 2 + 1], path .. ".next"))
    assert(os.rename(path .. ".next", path))
    return plugin:reload()
  end,
  rwlock = function()
    local copy = ("%s/copy%d.so"):format(directory, reloads)
    assert(uv.fs_copyfile(builds[reloads % 2 + 1], copy))
    threads.locked_reload(copy)
    os.remove(copy)
    return true
  end,
}
hosts.rwlock()

local function measure(what, which, limit_ms)
  local hot, threads = require "hotlua", require "threads"
  local f = which == "hotlua" and hot.get("plugin").api.add or threads.locked_add
  for _ = 1, 1000 do f(1, 2) end
  hot.parent:send(threads[what](f, limit_ms))
end

-- One measurement: what each of the threads found, and how many reloads there were and were put off.
local function measure_all(host, what, count, is_storm)
  local results, done, put_off = {}, 0, 0
  for _ = 1, count do
    hot.worker(measure, what, host, ms):on("message", function(...) results[#results + 1] = { ... } end)
  end
  while #results < count do
    if is_storm then
      reloads = reloads + 1
      if hosts[host]() then done = done + 1 else put_off = put_off + 1 end
    end
    hot.sleep(pause_ms)
  end
  return results, done, put_off
end

print(("%-7s %8s %8s %14s %10s %12s %14s %10s"):format("host", "threads", "reloads", "calls/s (all)", "mean ns",
  "p99.9 ns", "longest us", "put off"))
for count = 1, 2 do
  for _, is_storm in ipairs { false, true } do
    for _, host in ipairs { "rwlock", "hotlua" } do
      local rate, mean, high, longest = 0, 0, 0, 0
      local counted = measure_all(host, "count", count, is_storm)
      for _, result in ipairs(counted) do
        assert(result[3] == 0, "a wrong result")
        rate = rate + result[1] / result[2] * 1e9
      end
      local timed, done, put_off = measure_all(host, "time", count, is_storm)
      for _, result in ipairs(timed) do
        mean = mean + result[1] / count
        high, longest = math.max(high, result[2]), math.max(longest, result[3] / 1000)
      end
      print(("%-7s %8d %8d %14.0f %10.1f %12.0f %14.1f %10d"):format(host, count, done, rate, mean, high, longest,
        put_off))
    end
  end
end
plugin:close()
run("rm -rf " .. directory)
