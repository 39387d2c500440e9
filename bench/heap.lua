-- A million typed heap objects of 64 bytes whose struct grows to 80, 13 fields: what the reload takes to move
-- them, beside a loop written by hand in C that does the same (new memory, every field, every pointer), in
-- one run. Also the reload of a million objects whose layout stays.
local hot = require "hotlua"
local uv = require "luv"
local here = arg[0]:match("^(.*)/") or "."
local cc = os.getenv("CC") or "cc"

local count <const> = tonumber(os.getenv "HOTLUA_OBJECTS") or 1000000
local rounds <const> = 3

local fields = "int id; short kind, flags; float x, y, z, w; double mass; long stamp; int a, b; char tag[8];"
local new_fields = "long extra; int id; short kind, flags; float x, y, z, w; double mass, speed; long stamp; " ..
  "int a, b; char tag[8];"

-- The plugin: the fields of struct item, its last field, a number that makes the file another. LINK and EACH
-- are replaced where items are linked.
local source = [[
#include <hotlua/plugin.h>
#include <string.h>
struct item { %s %s };
struct item *list, *array;
void make_list(int count) {
  for (int i = 0; i < count; i++) {
    struct item *item = hot_new(struct item);
    item->id = i; item->mass = i; item->stamp = i * 3; item->a = -i;
    LINK
  }
}
void make_array(int count) {
  array = hot_new_array(struct item, count);
  for (int i = 0; i < count; i++) { array[i].id = i; array[i].mass = i; array[i].a = -i; }
}
long check_list(int count) {
  long sum = 0;
  (void)count;
  EACH sum += item->id + item->a + (item->mass == item->id);
  return sum;
}
long check_array(int count) {
  long sum = 0;
  for (int i = 0; i < count; i++) sum += array[i].id + array[i].a + (array[i].mass == array[i].id);
  return sum;
}
int version(void) { return %d; }
]]

-- The same by hand: the old struct's fields and last field, the new one's.
local hand = [[
#include <stdlib.h>
#include <string.h>
struct old { %s %s };
struct new { %s %s };
static struct old *olds; static struct new *news; static int count;
void make(int wanted) {
  count = wanted;
  olds = calloc((size_t)count, sizeof *olds);
  for (int i = 0; i < count; i++) { olds[i].id = i; olds[i].mass = i; olds[i].a = -i; FIRST }
}
void drop(void) { free(news); free(olds); }
static void fields(const struct old *from, struct new *to) {
  to->id = from->id; to->kind = from->kind; to->flags = from->flags; to->x = from->x; to->y = from->y;
  to->z = from->z; to->w = from->w; to->mass = from->mass; to->stamp = from->stamp; to->a = from->a;
  to->b = from->b; memcpy(to->tag, from->tag, sizeof to->tag);
}
void move(void) {
  news = calloc((size_t)count, sizeof *news);
  for (int i = 0; i < count; i++) { fields(&olds[i], &news[i]); NEXT }
}
]]

local function run(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read("a")
  assert(pipe:close(), command)
  return output
end

local directory = run("mktemp -d -p /dev/shm 2>/dev/null || mktemp -d"):match("%S+")

local function compile(name, text)
  local path = directory .. "/" .. name
  do
    local file <close> = assert(io.open(path .. ".c", "wb"))
    file:write(text)
  end
  run(("%s -O2 -g -shared -fPIC -I'%s/../include' -o '%s.so' '%s.c'"):format(cc, here, path, path))
  return path .. ".so"
end

local function version_of(number, is_linked)
  local link = is_linked and "struct item *next;" or "void (*call)(void);"
  local text = source:format(number == 1 and fields or new_fields, link, number)
  text = text:gsub("LINK", is_linked and "item->next = list; list = item;" or "(void)item;")
  text = text:gsub("EACH", is_linked and "for (struct item *item = list; item; item = item->next)" or
    "struct item *item = array;")
  return text
end

local function put(path, to)
  assert(uv.fs_copyfile(path, to .. ".new"))
  assert(uv.fs_rename(to .. ".new", to))
end

local function median(values)
  table.sort(values)
  return values[(#values + 1) // 2]
end

-- Milliseconds of the carry of reloads: where the objects grow, where their layout stays.
local function measure(name, is_linked, make, check)
  local versions, path = {}, directory .. "/" .. name .. ".so"
  for i = 1, 3 do versions[i] = compile(name .. i, version_of(i, is_linked)) end
  put(versions[1], path)
  local plugin = hot.load(path, { watch = false, name = name })
  plugin.api[make](count)
  local sum = plugin.api[check](count)
  local function reload(version)
    put(versions[version], path)
    local report = assert(plugin:reload())
    assert(plugin.api[check](count) == sum)
    return report.us.carry / 1000
  end
  local grow, stay = {}, {}
  for round = 1, rounds do
    grow[round], stay[round] = reload(2), reload(3)
    reload(1)
  end
  plugin:close()
  return median(grow), median(stay)
end

-- Milliseconds of the loop by hand.
local function by_hand(name, is_linked)
  local old_link = is_linked and "struct old *next;" or "void (*call)(void);"
  local new_link = is_linked and "struct new *next;" or "void (*call)(void);"
  local text = hand:format(fields, old_link, new_fields, new_link)
  text = text:gsub("FIRST", is_linked and "olds[i].next = i ? &olds[i - 1] : NULL;" or "")
  text = text:gsub("NEXT", is_linked and "news[i].next = olds[i].next ? &news[olds[i].next - olds] : NULL;" or
    "news[i].call = olds[i].call;")
  local plugin = hot.load(compile(name, text), { watch = false, name = name })
  local times = {}
  for round = 1, rounds do
    plugin.api.make(count)
    local began = uv.hrtime()
    plugin.api.move()
    times[round] = (uv.hrtime() - began) / 1e6
    plugin.api.drop()
  end
  plugin:close()
  return median(times)
end

local function line(what, ms, floor)
  print(("  %-44s %8.2f ms%s"):format(what, ms, floor and ("   %5.2f x"):format(ms / floor) or ""))
end

print(("%d typed heap objects, 64 bytes to 80, 13 fields (the carry alone, median of %d)"):format(count, rounds))
local list_floor, array_floor = by_hand("hand_list", true), by_hand("hand_array", false)
local list, list_stays = measure("list", true, "make_list", "check_list")
local array, array_stays = measure("array", false, "make_array", "check_array")
line("by hand in C: a list", list_floor)
line("hotlua: hot_new each, a list", list, list_floor)
line("by hand in C: an array", array_floor)
line("hotlua: hot_new_array of them", array, array_floor)
line("the layout stays: a list", list_stays)
line("the layout stays: an array, function pointers", array_stays)
run(("rm -r '%s'"):format(directory))
