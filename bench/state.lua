-- What the carry of much state costs, beside C in the same run: a million structs whose layout changed, and
-- 100 MB whose did not. The C loop and memcpy write to memory that is there already; so does the carry, whose
-- pages are made ready while the program still runs.
local hot = require "hotlua"
local core = require "hotlua.core"
local cc = os.getenv("CC") or "cc"

local rounds <const> = 7

local function run(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read("a")
  assert(pipe:close(), command)
  return output
end

local directory = run("mktemp -d -p /dev/shm 2>/dev/null || mktemp -d"):match("%S+")

local function build(name, text)
  local path = ("%s/%s"):format(directory, name)
  local file <close> = assert(io.open(path .. ".c", "wb"))
  file:write(text)
  file:close()
  run(("%s -g -O2 -shared -fPIC -o %s.so %s.c"):format(cc, path, path))
  return path .. ".so"
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- Milliseconds of a call.
local function time(fn)
  local began = core.now()
  fn()
  return (core.now() - began) / 1e6
end

-- Reloads from version to version and back; returns milliseconds of the carry, and of the loop's whole pause.
local function reload(versions, fill, check)
  local path, times, pauses = directory .. "/plugin.so", {}, {}
  for i = 1, rounds do
    run(("cp %s %s"):format(versions[1], path))
    local plugin <close> = setmetatable({ hot.load(path, { watch = false, keep = 0 }) }, {
      __close = function(holder) holder[1]:close() end,
    })
    fill(plugin[1].api)
    run(("cp %s %s.new && mv %s.new %s"):format(versions[2], path, path, path))
    local report = assert(plugin[1]:reload())
    check(plugin[1].api)
    times[i], pauses[i] = report.us.carry / 1000, report.pause_us / 1000
  end
  return median(times), median(pauses)
end

local function measure(fn)
  local times = {}
  fn()
  for i = 1, rounds do times[i] = time(fn) end
  return median(times)
end

local function row(label, ms, base)
  print(("  %-50s %8.2f ms %8s"):format(label, ms, base and ("%.2fx"):format(ms / base) or ""))
end

-- A million structs ---------------------------------------------------------------------------------

local before = [[
struct object { int id; short kind; short flags; float x, y, z; double vx; float vy; int hp; int owner;
  unsigned color; long stamp; void *link; };
]]
local after = [[
struct object { long id; int kind; short flags; double x, y; float z; double vx; float vy; int hp;
  int owner; unsigned color; long stamp; void *link; };
]]

local function objects(struct)
  return struct .. [[
    enum { COUNT = 1000000 };
    struct object objects[COUNT];
    void fill(void) {
      for (int i = 0; i < COUNT; i++)
        objects[i] = (struct object){ i, i % 7, i % 3, i * 0.5f, i, -i, 1, 2, i % 100, i, i * 3u, i * 5L, 0 };
    }
    long sum(void) {
      long sum = 0;
      for (int i = 0; i < COUNT; i++)
        sum += objects[i].id + objects[i].kind + (long)objects[i].x + objects[i].hp + objects[i].stamp;
      return sum;
    }
    int size(void) { return sizeof(struct object); }
  ]]
end

local structs = before:gsub("object", "before") .. after:gsub("object", "after")
local by_hand = structs .. [[
#include <string.h>
enum { COUNT = 1000000, LARGE = 100 << 20 };
static struct before from[COUNT];
static struct after to[COUNT];
static char large[LARGE], copy[LARGE];
void touch(void) {
  memset(from, 1, sizeof from);
  memset(to, 1, sizeof to);
  memset(large, 1, LARGE);
  memset(copy, 1, LARGE);
}
void loop(void) {
  for (int i = 0; i < COUNT; i++) {
    const struct before *b = &from[i];
    to[i] = (struct after){ b->id, b->kind, b->flags, b->x, b->y, b->z, b->vx, b->vy, b->hp, b->owner,
      b->color, b->stamp, b->link };
  }
}
void copy_objects(void) { memcpy(to, from, sizeof from); }
void copy_large(void) { memcpy(copy, large, LARGE); }
]]

local hand = hot.load(build("hand", by_hand), { watch = false }).api
hand.touch()

local versions = { build("objects1", objects(before)), build("objects2", objects(after)) }
local expected
local carry, pause = reload(versions, function(api)
  assert(api.size() == 64)
  api.fill()
  expected = api.sum()
end, function(api) assert(api.size() == 80 and api.sum() == expected) end)
local loop = measure(hand.loop)
print("a million structs, 64 -> 80 bytes, 13 fields")
row("memcpy of 64 MB", measure(hand.copy_objects))
row("C loop", loop, loop)
row("hotlua, the carry", carry, loop)
row("hotlua, the loop's whole pause", pause, loop)

-- 100 MB ---------------------------------------------------------------------------------------------

local large = [[
  %s
  long large[(100 << 20) / 8];
  void fill(void) { for (long i = 0; i < (100 << 20) / 8; i++) large[i] = i + 1; }
  long sum(void) {
    long sum = 0;
    for (long i = 0; i < (100 << 20) / 8; i++) sum += large[i];
    return sum;
  }
]]
local copy = measure(hand.copy_large)
print("100 MB whose layout did not change")
row("memcpy", copy, copy)
for _, case in ipairs {
  { "all of it written", "", function(api) api.fill() end },
  { "all of it written, other variables in front", "char more[40];", function(api) api.fill() end },
  { "a thousandth of it written", "", function(api)
    for i = 0, (100 << 20) // 8 - 1, 512 * 1000 do api.large[i] = i end
  end },
} do
  versions = { build("large1", large:format("")), build("large2", large:format(case[2]) .. "int more_code;") }
  carry, pause = reload(versions, function(api)
    case[3](api)
    expected = api.sum()
  end, function(api) assert(api.sum() == expected) end)
  row("hotlua, " .. case[1], carry, copy)
  row("  the loop's whole pause", pause, copy)
end
run("rm -rf " .. directory)
