-- A short run for valgrind: load, call, reload with state, a refused version, a rollback, a close.
local hot = require "hotlua"

local directory = io.popen("mktemp -d"):read("l")
local path = directory .. "/plugin.so"

local function build(text)
  local source <close> = assert(io.open(directory .. "/plugin.c", "w"))
  source:write(text)
  source:close()
  local command = "cc -g -shared -fPIC -o %s.next %s/plugin.c && mv %s.next %s"
  assert(os.execute(command:format(path, directory, path, path)))
end

local text = [[
#include <string.h>
struct point { int x, y; const char *label; };
struct point corner = { 1, 2, "corner" };
static int calls;
int version(void) { return %d; }
int step(int by) { return calls += by; }
size_t length(const char *s) { return strlen(s); }
struct point *where(void) { return &corner; }
int apply(int (*f)(int), int x) { return f(x); }
]]

build(text:format(1))
local plugin = hot.load(path, { watch = false, carry = "merge" })
local api = plugin.api
for i = 1, 20 do
  assert(api.step(1) == i and api.length("hello") == 5 and api.apply(function(x) return x + 1 end, 1) == 2)
  api.where().x = i
  build(text:format(i + 1) .. ("int extra_%d;"):format(i))
  assert(plugin:reload())
  assert(api.version() == i + 1 and api.where().x == i)
end
build("int version(void) { return missing(); }")
assert(not plugin:reload())
assert(plugin:rollback())
assert(api.step(1) == 21)
plugin:close()
os.execute("rm -rf " .. directory)
print("ok")
