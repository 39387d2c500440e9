-- Crashes and time limits in plugin calls.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"
local is_tsan = dofile("spec/support/sanitizer.lua").is_tsan

-- TSan puts a signal off until the thread calls the C library, and shows the handler a copy of what the thread
-- was doing, so that nothing can be ended from there.
local ends_it = is_tsan and function(name) pending(name .. ": no time limits under TSan") end or it

local source = [[
#include <assert.h>
#include <stdlib.h>
#include <stdint.h>
#include <signal.h>
static int count;
int volatile zero;
int touched(void) { return count; }
__attribute__((noinline)) static int read_from(int *p) { return *p; }
int segv(void) { count++; return read_from((int *)16); }
int fpe(void) { return 7 / zero; }
int ill(void) { __builtin_trap(); }
int aborts(void) { abort(); }
int asserts(int x) { assert(x == 1); return x; }
int trap(void) { raise(SIGTRAP); return 1; }
int bus(void) { raise(SIGBUS); return 1; }
__attribute__((noinline)) int deep(int n) { volatile char room[512]; room[0] = (char)n; return deep(n + 1) + room[0]; }
int null_call(void) { int (*volatile f)(void) = 0; return f(); }
int call_back(int (*f)(int), int x) { return f(x) + 1; }
int call_and_crash(int (*f)(int), int x) { int r = f(x); return r + read_from((int *)24); }
int forever(void) { for (;;) count++; }
int version(void) { return 1; }
]]

local function crash(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  return message
end

describe("a crash in a call", function()
  local plugin, api
  before_each(function()
    plugin = t.load(source, { guard = { crash = "error" } })
    api = plugin.api
  end)

  for name, pattern in pairs {
    segv = "SIGSEGV in 'read_from'.*%.c:8", fpe = "SIGFPE in 'fpe'", ill = "SIGILL in 'ill'",
    aborts = "SIGABRT in 'aborts'", trap = "SIGTRAP in 'trap'", bus = "SIGBUS in 'bus'",
    null_call = "SIGSEGV in 'null_call'",
  } do
    it("becomes a Lua error: " .. name, function()
      for _ = 1, 3 do
        assert.matches(pattern, crash(api[name]))
      end
      assert.are.equal(1, api.version())
    end)
  end

  it("names a failed assertion and a used-up stack", function()
    assert.matches("SIGABRT in 'asserts'", crash(api.asserts, 2))
    assert.matches("SIGSEGV in 'deep'.*stack overflow", crash(api.deep, 1))
    assert.are.equal(1, api.asserts(1))
  end)

  it("shows the C frames above it", function()
    local message = crash(api.segv)
    assert.matches("%[C%] read_from at .-%.c:8\n%s*%[C%] segv at .-%.c:9$", message)
  end)

  it("unwinds to the level that it belongs to", function()
    local inner
    local result = api.call_back(function(x)
      inner = crash(api.segv)
      return x * 2
    end, 5)
    assert.are.equal(11, result)
    assert.matches("SIGSEGV in 'read_from'", inner)
    assert.matches("SIGSEGV", crash(api.call_and_crash, function(x) return x end, 1))
    assert.are.equal(11, api.call_back(function(x) return x * 2 end, 5))
  end)

  it("leaves the count of callers right, and the broken image mapped", function()
    local core = require "hotlua.core"
    local image = require("hotlua.plugin").owner_of(plugin).live
    crash(api.segv)
    assert.is_false(core.is_inside(image.handle))
    plugin:close()
    local left = plugin:info().images
    assert.are.equal("held", left[1].state)
    assert.matches("it crashed: SIGSEGV", left[1].why)
  end)

  it("names the plugin and its generation", function()
    local name = plugin:info().name
    assert.matches("%(plugin '" .. name:gsub("%-", "%%-") .. "', generation 1%)", crash(api.segv))
  end)
end)

describe("guard.crash = 'rollback'", function()
  it("puts the previous generation back with its state, and holds the broken one", function()
    local plugin = t.load([[
      static int count; int next(void) { return ++count; }
      int version(void) { return 1; } ]])
    plugin.api.next()
    plugin.api.next()
    assert(t.swap(plugin, [[
      static int count; int next(void) { return *(volatile int *)(long)count * 0 + ++count; }
      int version(void) { return 2; } ]]))
    local rolled_back
    plugin:on("rolled_back", function(report) rolled_back = report end)
    assert.are.equal(2, plugin.api.version())
    assert.matches("SIGSEGV", crash(plugin.api.next))
    assert.are.equal(1, plugin.api.version())
    assert.are.equal(3, plugin.api.next())
    assert.is_true(rolled_back.ok)
    assert.are.same({ 2, 1 }, { rolled_back.from, rolled_back.generation })
    assert.matches("^SIGSEGV in 'next'", rolled_back.error)
    assert.are.equal(1, plugin:info().generation)
    local states = {}
    for _, image in ipairs(plugin:info().images) do states[image.generation] = image.state end
    assert.are.equal("held", states[2])
  end)
end)

describe("guard.timeout_ms", function()
  ends_it("ends an endless loop in a call", function()
    local plugin = t.load(source, { guard = { crash = "error", timeout_ms = 50 } })
    assert.matches("timeout in 'forever'", crash(plugin.api.forever))
    assert.are.equal(1, plugin.api.version())
    assert.matches("timeout", crash(plugin.api.forever))
  end)

  ends_it("gives a call all of its time", function()
    local api = t.load(source, { guard = { crash = "error", timeout_ms = 12 } }).api
    for _ = 1, 10 do
      local began = uv.hrtime()
      crash(api.forever)
      local took = uv.hrtime() - began
      assert.is_true(took >= 12000000, "it had " .. took)
    end
  end)

  it("leaves calls that are quick enough alone", function()
    local plugin = t.load(source, { guard = { timeout_ms = 1000 } })
    for _ = 1, 100 do assert.are.equal(1, plugin.api.version()) end
    assert.are.equal(11, plugin.api.call_back(function(x) return x * 2 end, 5))
  end)
end)

describe("hot.load's guard", function()
  it("refuses what it does not know", function()
    assert.error_matches(function() hot.load("x.so", { guard = { crash = "ignore" } }) end, "guard%.crash")
    for _, limit in ipairs { -1, "50", 1e12 } do
      assert.error_matches(function() hot.load("x.so", { guard = { timeout_ms = limit } }) end,
        "guard%.timeout_ms is a number from 0, not ")
    end
    assert.are.equal(1, t.load(source, { guard = { timeout_ms = 900.5 } }).api.version())
  end)
end)

describe("a plugin that ends the process in a call", function()
  for _, name in ipairs { "exit", "_exit", "_Exit", "quick_exit" } do
    it("ends the call: " .. name, function()
      local plugin = t.load("#include <stdlib.h>\n#include <unistd.h>\nint count;\n" ..
        ("int leave(int status) { count++; %s(status); }"):format(name), { guard = { crash = "error" } })
      local ok, message = pcall(plugin.api.leave, 3)
      assert.is_false(ok)
      assert.matches(name .. " in 'leave' .*: it called " .. name .. "%(3%)", message)
      assert.are.equal(1, plugin.api.count)
    end)
  end

  for _, name in ipairs { "exit", "_exit", "_Exit", "quick_exit" } do
    it("ends it where guard.crash is 'off': " .. name, function()
      local path = t.build("#include <stdlib.h>\n#include <unistd.h>\n" ..
        ("void leave(int status) { %s(status); }"):format(name))
      local script = ('require "hotlua".load("%s", { watch = false, guard = { crash = "off" } }).api.leave(7)'):format(
        path)
      local _, how, status = os.execute(("ulimit -t 5; '%s' -e '%s'"):format(uv.exepath(), script))
      assert.are.same({ "exit", 7 }, { how, status })
    end)
  end

  it("rolls back, too", function()
    local plugin = t.load("int leave(void) { return 1; }")
    assert(t.swap(plugin, "#include <stdlib.h>\nint leave(void) { exit(0); }"))
    assert.is_false(pcall(plugin.api.leave))
    assert.are.equal(1, plugin.api.leave())
    assert.rolled_back(plugin)
  end)
end)

describe("crash after crash", function()
  it("ends the rollbacks, not the program", function()
    local failed
    local plugin = t.load("int version(void) { return 0; } void go(void) {}", {
      on = { failed = function(report) failed = report end },
    })
    for version = 1, 6 do
      assert(t.swap(plugin, ("int version(void) { return %d; } void go(void) { *(volatile int *)8 = %d; }"):format(
        version, version)))
      assert.is_false(pcall(plugin.api.go))
      assert.are.equal(version < 6 and 0 or 6, plugin.api.version())
    end
    assert.matches("6 crashes within 10 s: no further rollback by itself; the last: SIGSEGV in 'go'", failed.error)
    assert.is_false(pcall(plugin.api.go))
    assert(t.swap(plugin, "int version(void) { return 7; } void go(void) {}"))
    plugin.api.go()
  end)

  it("does not take the same file again", function()
    local plugin = t.load("void go(void) {}", { watch = true })
    local crashing = t.build "void go(void) { *(volatile int *)8 = 1; }"
    local function put()
      local file <close> = assert(io.open(crashing, "rb"))
      t.write(plugin:info().path .. ".next", file:read("a"))
      assert(os.rename(plugin:info().path .. ".next", plugin:info().path))
    end
    put()
    t.await(function() return plugin:info().generation == 2 end)
    assert.is_false(pcall(plugin.api.go))
    assert.are.equal(1, plugin:info().generation)
    local attempts = plugin:info().reloads
    put()
    hot.sleep(150)
    assert.are.same({ 1, attempts }, { plugin:info().generation, plugin:info().reloads })
  end)
end)

describe("a time limit", function()
  local ways = {
    usleep = "for (;;) usleep(1000);", sleep = "for (;;) sleep(1);", pause = "for (;;) pause();",
    poll = "for (;;) poll(0, 0, -1);", malloc = "for (;;) free(malloc(100));",
    read = "int ends[2]; char c; if (pipe(ends)) return 1; for (;;) if (read(ends[0], &c, 1) > 0) return 2;",
    "return (int)sleep(60);",
  }
  local parts = { [[
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
int call_for_ever(int (*f)(int)) { for (;;) f(1); }
int add(int a, int b) { return a + b; }
]] }
  for name, body in pairs(ways) do parts[#parts + 1] = ("int way_%s(void) { %s }\n"):format(name, body) end
  local waiting = t.build(table.concat(parts))

  for name in pairs(ways) do
    ends_it("ends a call that spends its time in the C library or the kernel: " .. name, function()
      local api = t.load(waiting, { guard = { crash = "error", timeout_ms = 30 } }).api
      for _ = 1, 2 do
        assert.matches("^timeout in 'way_" .. name .. "'", (crash(api["way_" .. name]):gsub("^%S+: ", "")))
        assert.are.equal(3, api.add(1, 2))
      end
    end)
  end

  ends_it("ends a call that calls a Lua function for ever", function()
    local api = t.load(waiting, { guard = { crash = "error", timeout_ms = 30 } }).api
    assert.matches("timeout in 'call_for_ever'", crash(api.call_for_ever, function() return 1 end))
    assert.are.equal(3, api.add(1, 2))
  end)

  ends_it("of one thread does not disturb the calls of others", function()
    -- Long enough for a thread that the system lets wait in a call.
    local plugin = t.load(waiting, { guard = { crash = "error", timeout_ms = 120 }, name = "shared" })
    local worker = hot.worker(function()
      local add = require "hotlua".get("shared").api.add
      local ends, sum = os.time() + 1, 0
      while os.time() <= ends do sum = add(sum, 1) end
      return sum
    end)
    local ended
    hot.spawn(function() ended = table.pack(worker:join()) end)
    local count = 0
    t.await(function()
      assert.matches("timeout in 'way_usleep'", crash(plugin.api.way_usleep))
      count = count + 1
      return ended
    end, 10000)
    assert.is_true(count > 3)
    assert.is_number(ended[1], ended[2])
    assert.is_true(ended[1] > 1000)
  end)
end)

describe("a call that ends the program by way of a library", function()
  it("ends itself only", function()
    local api = t.load([[
#include <err.h>
#include <pthread.h>
int fails(void) { errx(3, "fatal"); }
int leaves(void) { pthread_exit(0); }
int add(int a, int b) { return a + b; }
]], { guard = { crash = "error" } }).api
    for _ = 1, 2 do
      assert.matches("exit in 'fails'.*it called exit%(3%)", crash(api.fails))
      assert.matches("pthread_exit in 'leaves'", crash(api.leaves))
    end
    assert.are.equal(3, api.add(1, 2))
  end)
end)
