-- Thousands of reloads in one process leave nothing behind. In a process of its own, whose memory nobody else
-- uses.
local t = require "hotlua.test"
local uv = require "luv"

local source = [[
struct point { int x, y; const char *label; };
struct point corner = { 1, 2, "corner" };
static int calls;
int step(int by) { calls += by; return calls; }
struct point *where(void) { corner.x++; return &corner; }
int version(void) { return %d; }
]]

local script = [[
local hot, core, uv = require "hotlua", require "hotlua.core", require "luv"
local directory, versions = arg[1], {}

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read("a")
end

local function count_entries(path)
  local request, count = assert(uv.fs_scandir(path)), 0
  while uv.fs_scandir_next(request) do count = count + 1 end
  return count
end

-- Kilobytes of private memory, mappings of private copies, descriptors, private copies.
local function measure()
  for _ = 1, 5 do collectgarbage() end -- finalizers hold what others wait for
  local mappings = 0
  for line in io.lines("/proc/self/maps") do
    if line:find(core.stage_directory(), 1, true) then mappings = mappings + 1 end
  end
  print(read("/proc/self/status"):match("RssAnon:%s*(%d+)"), mappings, count_entries("/proc/self/fd"),
    count_entries(core.stage_directory()))
end

for i = 1, 2 do versions[i] = read(("%s/%d.so"):format(directory, i)) end
local path = directory .. "/plugin.so"
local function put(i)
  local file <close> = assert(io.open(path .. ".next", "wb"))
  file:write(versions[i])
  file:close()
  assert(os.rename(path .. ".next", path))
end

put(1)
hot.sleep(1) -- the alarms' own descriptors are not the reloads'
local plugin = hot.load(path, { watch = false })
local function settle()
  while #plugin:info().images ~= 2 do hot.sleep(1) end
  measure()
end
for i = 1, 2000 do
  put(i % 2 + 1)
  local report = assert(plugin:reload())
  assert(not report.unchanged and plugin.api.version() == i % 2 + 1)
  assert(plugin.api.step(1) == i and plugin.api.where().x == i + 1)
  if i == 50 then settle() end
end
settle()
]]

describe("2,000 reloads", function()
  it("end with the memory, mappings, descriptors and files of the first 50", function()
    local directory = t.tmpdir()
    for i = 1, 2 do assert(uv.fs_copyfile(t.build(source:format(i)), ("%s/%d.so"):format(directory, i))) end
    t.write(directory .. "/main.lua", script)
    -- With one arena: those that threads have of their own grow by megabytes before they stop, and hide what
    -- is lost.
    local command = "MALLOC_ARENA_MAX=1 '%s' %s/main.lua %s 2>&1"
    local pipe = assert(io.popen(command:format(uv.exepath(), directory, directory)))
    local output = pipe:read("a")
    assert.is_true(pipe:close(), output)
    local first, last = output:match("^([^\n]+)\n([^\n]+)\n$")
    local first_memory, first_rest = first:match("^(%d+)%s+(.*)$")
    local last_memory, last_rest = last:match("^(%d+)%s+(.*)$")
    assert.are.equal(first_rest, last_rest)
    -- It takes 1.2 MB in the first thousand, then no more (over 8,000: 1.4 MB).
    assert.is_true(last_memory - first_memory < 2048, ("memory grew from %s to %s kB"):format(first_memory, last_memory))
  end)
end)
