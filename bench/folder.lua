-- A folder of 1,000 plugins of 15 KB: loading all of them beside the bare dynamic loader, and one reload
-- among them beside one of a plugin alone, in one run.
local hot = require "hotlua"
local core = require "hotlua.core"
local uv = require "luv"
local cc = os.getenv("CC") or "cc"

local count, rounds, reloads = 1000, 5, 31

local function run(command)
  assert(os.execute(command), command)
end

local pipe = assert(io.popen("mktemp -d -p /dev/shm 2>/dev/null || mktemp -d"))
local directory = pipe:read("l")
pipe:close()

local function build(version)
  local c, so = ("%s/%d.c"):format(directory, version), ("%s/%d.so"):format(directory, version)
  local file <close> = assert(io.open(c, "w"))
  file:write(("int count; int version(void) { return %d; }\nint next(void) { return ++count; }\n"):format(version))
  file:close()
  run(("%s -O2 -g -shared -fPIC -o %s %s"):format(cc, so, c))
  return so
end

local builds = { build(1), build(2) }
local folder_path = directory .. "/plugins"
run("mkdir " .. folder_path)
local paths = {}
for i = 1, count do
  paths[i] = ("%s/p%04d.so"):format(folder_path, i)
  assert(uv.fs_copyfile(builds[1], paths[i]))
end

local function ms_of(work, ...)
  collectgarbage()
  local began = core.now()
  local result = work(...)
  return (core.now() - began) / 1e6, result
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- The bare loader --------------------------------------------------------------------------------

local function open_all()
  local libraries = {}
  for i, path in ipairs(paths) do libraries[i] = hot.open(path) end
  return libraries
end

local function load_all(options)
  return hot.load_dir(folder_path, options)
end

local bare, loaded, unprobed = {}, {}, {}
for _ = 1, rounds do
  local ms, libraries = ms_of(open_all)
  bare[#bare + 1] = ms
  for _, library in ipairs(libraries) do library:close() end
  for _, case in ipairs { { loaded, true }, { unprobed, false } } do
    local folder
    ms, folder = ms_of(load_all, { probe = case[2] })
    case[1][#case[1] + 1] = ms
    assert(#folder == count)
    folder:close()
  end
end

-- One reload -------------------------------------------------------------------------------------

-- From the rename of the new file to its first call, seen by the watch.
local function reload_us(plugin, path)
  local version_of, us, reached = plugin.api.version, {}, nil
  local heard = plugin:on("loaded", function()
    version_of()
    reached = core.now()
    hot.stop()
  end)
  for i = 1, reloads do
    local wanted = i % 2 + 1
    assert(uv.fs_copyfile(builds[wanted], path .. ".next"))
    hot.sleep(5)
    local began = core.now()
    assert(os.rename(path .. ".next", path))
    hot.run()
    assert(version_of() == wanted)
    us[i] = (reached - began) / 1000
  end
  heard:off()
  return median(us)
end

local alone_path = directory .. "/alone.so"
assert(uv.fs_copyfile(builds[1], alone_path))
local alone = hot.load(alone_path)
local alone_us = reload_us(alone, alone_path)
alone:close()
local folder = load_all()
local among_us = reload_us(folder:get("p0500"), folder_path .. "/p0500.so")
folder:close()

local file <close> = assert(io.open(builds[1], "rb"))
print(("%d plugins of %.1f kB"):format(count, file:seek("end") / 1000))
print(("%-28s %10s %8s"):format("loading all", "ms", "ratio"))
for _, case in ipairs { { "bare dynamic loader", bare }, { "hotlua", loaded }, { "hotlua, no probe", unprobed } } do
  print(("%-28s %10.1f %8.2f"):format(case[1], median(case[2]), median(case[2]) / median(bare)))
end
print(("%-28s %10s %8s"):format("rename to first call", "us", "ratio"))
print(("%-28s %10.0f %8.2f"):format("alone", alone_us, 1))
print(("%-28s %10.0f %8.2f"):format("among " .. count, among_us, among_us / alone_us))
run("rm -rf " .. directory)
