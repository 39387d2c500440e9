-- Lua functions as C function pointers: results and arguments, errors, threads, reloads, and what is left of
-- them when they are freed.
local hot = require "hotlua"
local t = require "hotlua.test"

local source = [[
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
enum colour { RED, GREEN = 5 };
struct point { int x, y; };
struct event { int kind; const char *name; double at; };
typedef int (*compare)(const void *, const void *);
typedef void (*handler)(const struct event *event, void *user);

void sort(int *list, size_t count, compare by) { qsort(list, count, sizeof *list, by); }
void sort_points(struct point *list, size_t count, int (*by)(const struct point *, const struct point *))
{
  qsort(list, count, sizeof *list, (compare)by);
}

static handler on_event;
static void *event_user;
void subscribe(handler h, void *user) { on_event = h; event_user = user; }
void fire(int kind, const char *name, double at)
{
  struct event event = {kind, name, at};
  if (on_event) on_event(&event, event_user);
}
handler current(void) { return on_event; }

static int (*kept)(int);
void keep(int (*f)(int)) { kept = f; }
void keep_raw(void *f) { kept = (int (*)(int))f; }
int call_kept(int x) { return kept ? kept(x) : -1; }
int apply(int (*f)(int), int x) { return f(x); }
int twice(int (*f)(int), int x) { return f(f(x)); }
void *pointer_of(int (*f)(int)) { return (void *)f; }
long each(int (*f)(int), int count) { long s = 0; for (int i = 0; i < count; i++) s += f(i); return s; }
int with_user(int (*f)(int, void *), void *user) { return f(1, user) + f(2, user); }

int8_t i8(int8_t (*f)(int8_t), int8_t x) { return f(x); }
uint8_t u8(uint8_t (*f)(uint8_t), uint8_t x) { return f(x); }
int16_t i16(int16_t (*f)(int16_t), int16_t x) { return f(x); }
uint32_t u32(uint32_t (*f)(uint32_t), uint32_t x) { return f(x); }
int64_t i64(int64_t (*f)(int64_t), int64_t x) { return f(x); }
uint64_t u64(uint64_t (*f)(uint64_t), uint64_t x) { return f(x); }
float single(float (*f)(float), float x) { return f(x); }
double two(double (*f)(double, double), double x, double y) { return f(x, y); }
bool truth(bool (*f)(bool), bool x) { return f(x); }
enum colour paint(enum colour (*f)(enum colour), enum colour x) { return f(x); }
const char *text(const char *(*f)(const char *), const char *x) { return f(x); }
struct point shift(struct point (*f)(struct point), struct point p) { return f(p); }
struct point *find(struct point *(*f)(struct point *), struct point *p) { return f(p); }
long double big(long double (*f)(long double), long double x) { return f(x); }
int many(int (*f)(int, int, int, int, int, int, int, double, short), int x)
{
  return f(x, 2, 3, 4, 5, 6, 7, 8.0, 9);
}
double mixed(double (*f)(int, double, const char *, float, int64_t), int x) { return f(x, 0.5, "abc", 0.25, 1000); }

static int (*inner)(int);
int outer(int (*f)(int), int x) { return f(x) + 1; }
void set_inner(int (*f)(int)) { inner = f; }
int call_inner(int x) { return inner(x) * 2; }

static pthread_t thread;
static int thread_result;
static void *go(void *f) { thread_result = ((int (*)(int))f)(20); return 0; }
void start(int (*f)(int)) { pthread_create(&thread, 0, go, (void *)f); }
int finish(void) { pthread_join(thread, 0); return thread_result; }
static void *tell(void *f)
{
  char name[8];
  for (int i = 0; i < 100; i++) {
    strcpy(name, i % 2 ? "odd" : "even");
    ((void (*)(int, const char *))f)(i, name);
    memset(name, 'z', sizeof name - 1);
  }
  return 0;
}
void start_telling(void (*f)(int, const char *)) { pthread_create(&thread, 0, tell, (void *)f); }
void make_both(int (**f)(int), int x) { *f = x ? call_kept : 0; }
int volatile is_done;
static void *go_and_say(void *f) { go(f); is_done = 1; return 0; }
void start_saying(int (*f)(int)) { is_done = 0; pthread_create(&thread, 0, go_and_say, (void *)f); }
struct table { int (*get)(int); void (*set)(int); };
static struct table table;
struct table *get_table(void) { return &table; }
int call_table(int x) { return table.get ? table.get(x) : -1; }
]]

local function refused(pattern, fn, ...)
  local arguments = table.pack(...)
  local ok, message = pcall(fn, table.unpack(arguments, 1, arguments.n))
  assert.is_false(ok, "no error: " .. pattern)
  assert.matches(pattern, message)
end

local function collect()
  collectgarbage()
  collectgarbage()
end

describe("a Lua function as a C function pointer", function()
  local plugin, api
  before_each(function()
    plugin = t.load(source, { watch = false })
    api = plugin.api
  end)

  it("compares for qsort", function()
    local list = hot.new("int[6]", { 5, 3, 9, -1, 7, 0 })
    local function by(a, b) return hot.cast("int *", a)[0] - hot.cast("int *", b)[0] end
    api.sort(list, #list, by)
    local sorted = {}
    for i, value in pairs(list) do sorted[i + 1] = value end
    assert.are.same({ -1, 0, 3, 5, 7, 9 }, sorted)
    local points = plugin.types["struct point[3]"] { { 3, 1 }, { 1, 2 }, { 2, 3 } }
    api.sort_points(points, 3, function(a, b) return a.x - b.x end)
    assert.are.same({ 2, 3, 1 }, { points[0].y, points[1].y, points[2].y })
  end)

  it("handles events with a user pointer", function()
    local log, user = {}, plugin.types.point { 40, 2 }
    api.subscribe(function(event, who)
      local point = hot.cast(plugin.types["struct point *"], who)
      log[#log + 1] = { event.kind, event.name, event.at, point.x + point.y, who == user }
    end, user)
    collect()
    api.fire(1, "open", 0.5)
    api.fire(2, nil, 1.5)
    assert.are.same({ { 1, "open", 0.5, 42, true }, { 2, nil, 1.5, 42, true } }, log)
    api.subscribe(nil, nil)
    api.fire(3, "none", 0)
    assert.are.equal(2, #log)
  end)

  it("gets the user pointer as what it is, nil for NULL", function()
    local user = hot.new("int", 20)
    assert.are.equal(43, api.with_user(function(x, who) return x + hot.cast("int *", who)[0] end, user))
    assert.are.equal(3, api.with_user(function(x, who) return who == nil and x or 100 end, nil))
  end)

  it("gets pointers as objects of their own while they differ, whatever was done to the ones before", function()
    local a, b, seen = hot.new("int", 1), hot.new("int", 2), {}
    local function take(x, who)
      seen[#seen + 1] = who
      return x
    end
    for _, user in ipairs { a, a, b, a } do api.with_user(take, user) end
    local addresses = {}
    for i, who in ipairs(seen) do addresses[i] = hot.address(who) end
    local x, y = hot.address(a), hot.address(b)
    assert.are.same({ x, x, x, x, y, y, x, x }, addresses)
  end)

  it("takes and gives every kind of value", function()
    local function same(x) return x end
    local kinds = {
      i8 = { -128, 127 }, u8 = { 0, 255 }, i16 = { -32768, 32767 }, u32 = { 0, 2 ^ 32 - 1 | 0 },
      i64 = { math.mininteger, math.maxinteger }, u64 = { 0, -1 }, single = { 0.25, -1.5 }, truth = { true, false },
      paint = { 0, 5 }, text = { "", "hello" }, big = { 0.5, -3.0 },
    }
    for name, values in pairs(kinds) do
      for _, value in ipairs(values) do
        assert.are.equal(value, api[name](same, value))
        assert.are.equal(math.type(value), math.type(api[name](same, value)))
      end
    end
    assert.are.equal(5, api.paint(function() return "GREEN" end, 0))
    assert.are.equal(2.0, api.two(function(x, y) return x / y end, 5, 2.5))
    assert.is_nil(api.text(function() return nil end, "x"))
    local shifted = api.shift(function(p) return { x = p.y, y = p.x } end, { 1, 2 })
    assert.are.same({ 2, 1 }, { shifted.x, shifted.y })
    local point = plugin.types.point { 1, 2 }
    assert.is_true(point == api.find(same, point))
    assert.is_nil(api.find(function() return nil end, point))
    assert.are.equal(1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9, api.many(function(...)
      local sum = 0
      for _, value in ipairs { ... } do sum = sum + value end
      return sum // 1 | 0
    end, 1))
    assert.are.equal(1003.75 + 1, api.mixed(function(a, b, c, d, e) return a + b + #c + d + e end, 1))
  end)

  it("gives the same pointer each time, another for another function", function()
    local function one(x) return x end
    local function other(x) return x + 1 end
    local first = hot.address(api.pointer_of(one))
    assert.are.equal(first, hot.address(api.pointer_of(one)))
    assert.are_not.equal(first, hot.address(api.pointer_of(other)))
    collect()
    assert.are.equal(first, hot.address(api.pointer_of(one)))
  end)

  it("comes back from C as itself; C's own functions as callables", function()
    local function handler() end
    api.subscribe(handler, nil)
    assert.are.equal(handler, api.current())
    api.subscribe(nil, nil)
    assert.is_nil(api.current())
    local place = hot.new "int (*[1])(int)"
    api.make_both(place, 1)
    api.keep(function(x) return x * 3 end)
    assert.are.equal(12, place[0](4))
    assert.are.equal(12, api.apply(place[0], 4))
    assert.are.equal(hot.address(api.call_kept), hot.address(place[0]))
    assert.are.equal(hot.address(place[0]), hot.address(api.pointer_of(place[0])))
    assert.are.equal(12, api.apply(api.call_kept, 4))
    local pointer = hot.new("int (*)(int)", api.call_kept)
    assert.are.equal(12, pointer(4))
    refused("bad argument #1", pointer, "4")
    refused("null pointer", hot.new "int (*)(int)", 4)
  end)

  it("may be a field, of memory of Lua's or of C's", function()
    local fields = plugin.types.table { get = function(x) return x + 1 end }
    collect()
    assert.are.equal(8, fields.get(7))
    api.get_table().get = function(x) return x * 10 end
    collect()
    assert.are.equal(70, api.call_table(7))
    assert.are.equal(70, api.get_table().get(7))
    api.get_table().get = nil
    assert.are.equal(-1, api.call_table(7))
  end)

  it("is refused where it is none", function()
    refused("bad argument #1 to 'apply' %(.*got number", api.apply, 1, 1)
    refused("bad argument #1 to 'apply' %(.*got string", api.apply, "f", 1)
    refused("bad argument #1 to 'apply' %(.*got table%)$", api.apply, {}, 1)
    refused("bad argument #1 to 'apply' %(.*got FILE%*%)$", api.apply, io.stdout, 1)
  end)
end)

describe("an error in a callback", function()
  local plugin, api
  before_each(function()
    plugin = t.load(source, { watch = false })
    api = plugin.api
  end)

  it("gives C zero and is raised when the outermost call returns, as it was", function()
    local value = { code = 7 }
    local calls = 0
    local ok, err = pcall(api.each, function(i)
      calls = calls + 1
      if i == 1 then error(value) end
      return 1
    end, 3)
    assert.is_false(ok)
    assert.are.equal(value, err)
    assert.are.equal(3, calls)
    assert.are.equal(6, api.twice(function(x) return x + 1 end, 4))
  end)

  it("keeps the first of several", function()
    local ok, err = pcall(api.each, function(i) error("number " .. i, 0) end, 3)
    assert.is_false(ok)
    assert.are.equal("number 0", err)
    assert.are.equal(3, api.each(function() return 1 end, 3))
  end)

  it("passes through callbacks inside callbacks to the outermost call", function()
    local after
    refused("from the depth", api.outer, function(x)
      after = api.outer(function() error "from the depth" end, x)
      return after
    end, 1)
    assert.are.equal(1, after)
  end)

  it("may be a bad result", function()
    refused("bad result of a callback %(number expected, got string%)", api.apply, function() return "x" end, 1)
    refused("bad result of a callback %(number expected, got nil%)", api.apply, function() end, 1)
    refused("bad result of a callback %(.*out of range for 'int'%)", api.apply, function() return 1 << 40 end, 1)
    refused("bad result of a callback %(.*out of range for 'int8_t'%)", api.i8, function() return 128 end, 1)
    refused("bad result of a callback %(.*no integer representation%)", api.apply, function() return 1.5 end, 1)
    assert.are.equal(2, api.apply(function() return 2.0 end, 1))
  end)

  it("leaves coroutines as they are", function()
    local thread = coroutine.wrap(function()
      local got = {}
      api.each(function(i) got[#got + 1] = i return 0 end, 3)
      coroutine.yield(#got)
      refused("attempt to yield", api.apply, function() coroutine.yield() end, 1)
      return "end"
    end)
    assert.are.equal(3, thread())
    assert.are.equal("end", thread())
  end)

  it("of stack overflow stops there", function()
    local function deep(x) return api.apply(deep, x) end
    refused("overflow", api.apply, deep, 1)
    assert.are.equal(4, api.apply(function(x) return x end, 4))
  end)
end)

describe("callbacks of callbacks", function()
  it("nest, and calls in them are ordinary ones", function()
    local api = t.load(source, { watch = false }).api
    local function fib(n) return n < 2 and n or api.apply(fib, n - 1) + api.apply(fib, n - 2) end
    assert.are.equal(55, api.apply(fib, 10))
    api.set_inner(function(x) return api.outer(function(y) return y * 100 end, x) end)
    assert.are.equal(1002, api.call_inner(5))
  end)
end)

describe("a callback through reloads", function()
  it("stays valid, and is the same pointer", function()
    local plugin = t.load(source, { watch = false, keep = 0 })
    local calls = 0
    local function count(x)
      calls = calls + 1
      return x + 1
    end
    plugin.api.keep(count)
    local before = hot.address(plugin.api.pointer_of(count))
    for i = 1, 3 do
      assert(t.swap(plugin, source .. "int generation" .. i .. ";"))
      collect()
      assert.are.equal(i + 1, plugin.api.call_kept(i))
    end
    assert.are.equal(before, hot.address(plugin.api.pointer_of(count)))
    assert.are.equal(3, calls)
  end)

  it("may reload the plugin that calls it", function()
    local plugin = t.load("int twice(int (*f)(int)) { return f(1) + f(2); }", { watch = false, keep = 0 })
    local refusals = {}
    local sum = plugin.api.twice(function(x)
      local report, refusal = t.swap(plugin, "int twice(int (*f)(int)) { return f(3); }")
      refusals[x] = not report and refusal.error or "done"
      return x
    end)
    assert.are.equal(3, sum)
    assert.are.equal("done", refusals[1])
    assert.are.equal(3, plugin.api.twice(function(x) return x end))
  end)
end)

describe("a call from another thread", function()
  local plugin, api
  before_each(function()
    plugin = t.load(source, { watch = false })
    api = plugin.api
  end)

  it("waits for the loop's thread and gets the result", function()
    local main = coroutine.running()
    api.start_saying(function(x)
      assert.are.equal(main, (coroutine.running()))
      return x + 3
    end)
    t.await(function() return api.is_done == 1 end)
    assert.are.equal(23, api.finish())
  end)

  it("is queued where nothing comes back, its strings copied", function()
    local got = {}
    api.start_telling(function(i, name) got[#got + 1] = i .. name end)
    api.finish()
    assert.are.equal(0, #got)
    t.await(function() return #got == 100 end)
    assert.are.equal("0even", got[1])
    assert.are.equal("99odd", got[100])
  end)

  it("gets zero when the function fails, and the error is reported", function()
    api.start_saying(function() error "in the other thread" end)
    assert.error_matches(function()
      t.await(function() return api.is_done == 1 and false end, 300)
    end, "in the other thread")
    assert.are.equal(0, api.finish())
  end)
end)

describe("hot.callback", function()
  local plugin, api
  before_each(function()
    plugin = t.load(source, { watch = false })
    api = plugin.api
  end)

  it("makes a pointer of a type expression or a plugin's type", function()
    local cb = hot.callback(function(x) return x * 2 end, "int (*)(int)")
    assert.are.equal(10, api.apply(cb, 5))
    assert.are.equal(20, api.twice(cb, 5))
    assert.matches("^callback int %(int%)", tostring(cb))
    local by = hot.callback(function(a, b) return hot.cast("int *", b)[0] - hot.cast("int *", a)[0] end,
      plugin.types.compare)
    local list = hot.new("int[3]", { 1, 2, 3 })
    api.sort(list, 3, by)
    assert.are.equal(3, list[0])
    cb:free()
    by:free()
  end)

  it("is not freed by being collected", function()
    api.keep(hot.callback(function(x) return x + 5 end, "int(int)"))
    collect()
    assert.are.equal(6, api.call_kept(1))
  end)

  it("refuses what is no function or no function type", function()
    refused("function expected, got number", hot.callback, 1, "int(int)")
    refused("a function type expected", hot.callback, print, "int *")
    refused("variadic function cannot be a callback", hot.callback, print, "int (*)(const char *, ...)")
  end)

  it("is refused where another type is wanted", function()
    local cb = hot.callback(function(x) return x end, "int(int)")
    refused("bad argument #1 to 'single' %(", api.single, cb, 1)
    refused("bad argument #1 to 'many' %(", api.many, cb, 1)
    refused("bad argument #1 to 'i64' %(", api.i64, cb, 1)
    assert.are.equal(3, api.with_user(hot.callback(function(x) return x end, "int(int, const char *)"), nil))
    cb:free()
  end)

  it("is refused once freed, and free may come twice", function()
    local cb = hot.callback(function() return 1 end, "int(int)")
    cb:free()
    cb:free()
    assert.are.equal("callback (freed)", tostring(cb))
    refused("bad argument #1 to 'apply' %(.*got callback%)", api.apply, cb, 1)
  end)

  it("may free itself while it runs", function()
    for _, result in ipairs { 8.0, "GREEN" } do
      local cb
      cb = hot.callback(function()
        cb:free()
        collect()
        return result
      end, result == 8.0 and "double(double, double)" or plugin.types["enum colour (*)(enum colour)"])
      assert.are.equal(result == 8.0 and 8.0 or 5, result == 8.0 and api.two(cb, 1, 2) or api.paint(cb, 0))
    end
    local cb
    cb = hot.callback(function(x)
      cb:free()
      collect()
      return x + 1
    end, "int(int)")
    assert.are.equal(8, api.apply(cb, 7))
  end)
end)

describe("a freed callback that C calls", function()
  local function run_apart(script)
    local path = t.write(t.tmpdir() .. "/main.lua", script)
    local pipe = assert(io.popen(("'%s' %s 2>&1"):format(require "luv".exepath(), path)))
    local output = pipe:read("a")
    assert.is_true(pipe:close(), output)
    return output
  end

  it("gives zero and one line on stderr that names the function", function()
    local output = run_apart(([[
      local hot = require "hotlua"
      local plugin = hot.load(%q, { watch = false })
      local cb = hot.callback(function(x) return x + 1 end, "int (*)(int)")
      plugin.api.keep(cb)
      print(plugin.api.call_kept(1))
      cb:free()
      print(plugin.api.call_kept(1), plugin.api.call_kept(2))
    ]]):format(t.build(source)))
    assert.matches("2\n", output)
    assert.matches("0\t0\n", output)
    assert.matches("hotlua: C called a callback that was freed %(the function at .*main.lua:3%): it gets zero\n", output)
    local _, lines = output:gsub("it gets zero", "")
    assert.are.equal(1, lines)
  end)

  it("gives zero after the plugin for which it was made is closed", function()
    local output = run_apart(([[
      local hot = require "hotlua"
      local keeper = hot.load(%q, { watch = false, name = "keeper" })
      local other = hot.load(%q, { watch = false, name = "other" })
      local function f(x) return x + 1 end
      keeper.api.keep_raw(other.api.pointer_of(f))
      print("before", keeper.api.call_kept(1))
      other:close()
      print("after", keeper.api.call_kept(1))
    ]]):format(t.build(source), t.build(source)))
    assert.matches("before\t2\n", output)
    assert.matches("after\t0\n", output)
    assert.matches("callback that was freed", output)
  end)
end)
