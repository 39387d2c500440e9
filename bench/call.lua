-- Calls from Lua into C, field reads and callbacks: hotlua beside a Lua C module written by hand (hand.c) and
-- LuaJIT's ffi, in one run. Each figure is the least of several interleaved rounds, in ns for one call.
local hot = require "hotlua"
local here = arg[0]:match("^(.*)/") or "."
local cc = os.getenv("CC") or "cc"

local plugin_source = [[
#include <stddef.h>
#include <string.h>
struct point { int x, y; double weight; };
int add(int a, int b) { return a + b; }
double fma3(double a, double b, double c) { return a * b + c; }
size_t length(const char *text) { return strlen(text); }
int get_x(const struct point *p) { return p->x; }
int each(int (*f)(int), int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++)
        sum += f(i);
    return sum;
}
int each_user(int (*f)(int, void *), int count, void *user)
{
    int sum = 0;
    for (int i = 0; i < count; i++)
        sum += f(i, user);
    return sum;
}
]]

local function run(command)
  assert(os.execute(command), command)
end

local pipe = assert(io.popen("mktemp -d"))
local directory = pipe:read("l")
pipe:close()

do
  local file <close> = assert(io.open(directory .. "/plugin.c", "w"))
  file:write(plugin_source)
end
run(("%s -O2 -g -shared -fPIC -o %s/plugin.so %s/plugin.c"):format(cc, directory, directory))
run(("%s -O2 -shared -fPIC $(pkg-config --cflags lua5.4) -o %s/hand.so %s/hand.c"):format(cc, directory, here))
package.cpath = directory .. "/?.so;" .. package.cpath

local hand = require "hand"
local path = directory .. "/plugin.so"
local plugin = hot.load(path)            -- guarded against crashes, as every plugin is by itself
local unguarded = hot.load(path, { name = "unguarded", guard = { crash = "off" } })
local limited = hot.load(path, { name = "limited", guard = { timeout_ms = 1000 } })
local api = plugin.api

local rounds, calls = 9, 1000000

-- ns of one turn of each function, in turns so that what disturbs the machine disturbs both.
local function least(a, b, count)
  local best = { math.huge, math.huge }
  for _ = 1, rounds do
    for i, fn in ipairs { a, b } do
      collectgarbage()
      local began = os.clock()
      fn(count)
      best[i] = math.min(best[i], (os.clock() - began) / count * 1e9)
    end
  end
  return best[1], best[2]
end

local function repeated(code, ...)
  local chunk = ("local f, x = ... return function(n) for _ = 1, n do %s end end"):format(code)
  return assert(load(chunk))(...)
end

local ours, theirs = plugin.types.point { x = 3, y = 4 }, hand.new_point(3, 4)
local function callback(x) return x end

local cases = {
  { "add(int, int)", "f(3, 4)", hand.add, api.add },
  { "fma3(double x 3)", "f(1.5, 2.5, 3.5)", hand.fma3, api.fma3 },
  { "length(const char *)", "f('hello world')", hand.length, api.length },
  { "get_x(struct point *)", "f(x)", hand.get_x, api.get_x, theirs, ours },
  { "point.x", "local _ = x.x", nil, nil, theirs, ours },
  { "add, no crash guard", "f(3, 4)", hand.add, unguarded.api.add },
  { "add, time limit of 1 s", "f(3, 4)", hand.add, limited.api.add },
}

-- The same in LuaJIT: name -> ns, compiled and interpreted. Empty when it is not installed.
local function measure_luajit(options)
  local script = directory .. "/jit.lua"
  local file <close> = assert(io.open(script, "w"))
  file:write(([[
    local ffi = require "ffi"
    ffi.cdef "struct point { int x, y; double weight; }; int add(int, int); double fma3(double, double, double);"
    ffi.cdef "size_t length(const char *); int get_x(const struct point *);"
    local lib, p = ffi.load("%s/plugin.so"), ffi.new("struct point", 3, 4)
    local s = 0
    local cases = {
      function(n) for _ = 1, n do s = s + lib.add(3, 4) end end,
      function(n) for _ = 1, n do s = s + lib.fma3(1.5, 2.5, 3.5) end end,
      function(n) for _ = 1, n do s = s + tonumber(lib.length("hello world")) end end,
      function(n) for _ = 1, n do s = s + lib.get_x(p) end end,
      function(n) for _ = 1, n do s = s + p.x end end,
    }
    for _, fn in ipairs(cases) do
      local best = math.huge
      for _ = 1, 5 do
        local began = os.clock()
        fn(%d)
        best = math.min(best, (os.clock() - began) / %d * 1e9)
      end
      print(best)
    end]]):format(directory, calls, calls))
  file:close()
  local output = assert(io.popen(("luajit %s %s 2>/dev/null"):format(options, script)))
  local list = {}
  for line in output:lines() do list[#list + 1] = tonumber(line) end
  output:close()
  return list
end

local compiled, interpreted = measure_luajit(""), measure_luajit("-joff")

local function show(value)
  return value and ("%.1f"):format(value) or "-"
end

local line = "%-26s %9s %9s %7s %13s %17s"
print(line:format("ns for one", "by hand", "hotlua", "ratio", "LuaJIT ffi", "LuaJIT, no jit"))
for i, case in ipairs(cases) do
  local a, b = least(repeated(case[2], case[3], case[5]), repeated(case[2], case[4], case[6]), calls)
  print(line:format(case[1], show(a), show(b), ("%.2f"):format(b / a), show(compiled[i]), show(interpreted[i])))
end
local user = hot.new "int"
for _, case in ipairs {
  { "callback int(int)", function(n) hand.each(callback, n) end, function(n) api.each(callback, n) end },
  { "callback int(int, void *)", function(n) hand.each_user(callback, n) end,
    function(n) api.each_user(callback, n, user) end },
} do
  local a, b = least(case[2], case[3], calls)
  print(line:format(case[1], show(a), show(b), ("%.2f"):format(b / a), "-", "-"))
end

plugin:close()
run("rm -rf " .. directory)
