-- From the rename of a plugin's new file to the first call into its code: hotlua beside a bare C program that
-- does nothing but inotify, copy, dlopen, dlsym and call (floor.c), in one run. Also the pause of the loop's
-- thread.
local hot = require "hotlua"
local core = require "hotlua.core"
local uv = require "luv"
local here = arg[0]:match("^(.*)/") or "."
local cc = os.getenv("CC") or "cc"

local function run(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read("a")
  assert(pipe:close(), command)
  return output
end

local directory = run("mktemp -d -p /dev/shm 2>/dev/null || mktemp -d"):match("%S+")

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

-- A plugin of `functions` functions; 4,000 big ones, each with a struct of its own, weigh some 5 MB. `counted`: each
-- has a static variable, too, which a reload carries.
local function source(version, functions, big, counted)
  local parts = { ("int counter;\nint version(void) { counter++; return %d; }\n"):format(version) }
  for i = 1, functions - 1 do
    if big then
      parts[#parts + 1] = ([[
struct item_%d { int id; double weight; char label[24]; struct item_%d *next; unsigned flags : 5; };
int work_%d(int a, int b, struct item_%d *item)
{
    %s
    double sum = a;
    for (int i = 0; i < b; i++) { sum += i * item->weight; if (sum > 1e6) sum = -sum; item->id += (int)sum; }
    switch (a) { case 1: sum *= 2; break; case 2: sum /= 3; break; case 3: sum -= b; break; default: sum += 1; }
    for (int i = 0; i < b; i++) { item->label[i %% 24] = (char)(sum + i); item->flags ^= (unsigned)i & 31; }
    %s
    return (int)sum + item->id;
}
]]):format(i, i, i, i, counted and ("static int calls_%d;"):format(i) or "",
        counted and ("calls_%d++;"):format(i) or "")
    else
      parts[#parts + 1] = ("int work_%d(int a, int b) { return a * %d + b; }\n"):format(i, i)
    end
  end
  return table.concat(parts)
end

local function build(name, version, functions, big, counted)
  local c, so = ("%s/%s.c"):format(directory, name), ("%s/%s.so"):format(directory, name)
  write(c, source(version, functions, big, counted))
  run(("%s -g -O1 -shared -fPIC -o %s %s"):format(cc, so, c))
  return so
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- Another process that renames on demand: rename(from, to, done), done(when that began in ns).
local function new_renamer()
  local input, output = uv.new_pipe(false), uv.new_pipe(false)
  local waiting
  local process = uv.spawn(directory .. "/floor", { args = { "rename" }, stdio = { input, output, 2 } }, function() end)
  output:read_start(function(_, data)
    if data then waiting(tonumber(data)) end
  end)
  return function(from, to, done)
    waiting = done
    input:write(("%s %s\n"):format(from, to))
  end, function()
    input:close()
    output:close()
    process:close()
  end
end

local function measure(label, versions, rounds, options)
  local path = ("%s/%s/plugin.so"):format(directory, label)
  run(("mkdir -p %s/%s"):format(directory, label))
  write(path, read(versions[2]))
  local seen, pauses = {}, {}
  options.name = label
  local reached
  options.on = { loaded = function(plugin, report)
    if report.from > 0 then
      plugin.api.version()
      reached = core.now()
      pauses[#pauses + 1] = report.pause_us
    end
  end, failed = function(report) error(tostring(report)) end }
  local plugin = hot.load(path, options)
  plugin.api.version()
  local rename, close = new_renamer()
  for i = 1, rounds do
    write(path .. ".next", read(versions[(i - 1) % 2 + 1]))
    hot.sleep(20)
    local began
    reached = nil
    rename(path .. ".next", path, function(ns) began = ns end)
    while not (reached and began) do core.turn(true) end
    seen[i] = (reached - began) / 1000
  end
  close()
  plugin:close()
  return median(seen), median(pauses)
end

local function floor(label, versions, rounds)
  local path = ("%s/floor-%s/plugin.so"):format(directory, label)
  run(("mkdir -p %s/floor-%s"):format(directory, label))
  write(path, read(versions[2]))
  return tonumber(run(("%s/floor reload %s %s %s %d %s"):format(directory, path, versions[1], versions[2],
    rounds, core.stage_directory())))
end

run(("%s -O2 -o %s/floor %s/floor.c -ldl"):format(cc, directory, here))
local line = "%-36s %9s %10s %8s %10s"
print(line:format("rename to first call", "floor us", "hotlua us", "ratio", "pause us"))
for _, case in ipairs {
  { "small", 22, false, false, 40 }, { "big", 4000, true, false, 20 }, { "counted", 4000, true, true, 20 },
} do
  local label, functions, big, counted, rounds = table.unpack(case)
  local versions = {}
  for version = 1, 2 do versions[version] = build(label .. version, version, functions, big, counted) end
  local size = #read(versions[1])
  local bare = floor(label, versions, rounds)
  for _, probe in ipairs { false, true } do
    local name = ("%s-%s"):format(label, probe and "probe" or "direct")
    local us, pause = measure(name, versions, rounds, { probe = probe })
    print(line:format(
      ("%.1f kB, %s, %s"):format(size / 1000, counted and "4000 statics" or "1 variable",
        probe and "probe" or "no probe"),
      ("%.0f"):format(bare), ("%.0f"):format(us), ("%.2f"):format(us / bare), ("%.0f"):format(pause)))
  end
end
run("rm -rf " .. directory)
