-- Crashes, endless loops and ends in the middle of a reload: in the new image before it is live, in the live one,
-- and in processes that a plugin forks.
local t = require "hotlua.test"

local function source(version, more)
  return ([[
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int count;
int version(void) { return %d; }
int bump(void) { return ++count; }
int set(int n) { return count = n; }
__attribute__((noinline)) static int read_from(int *p) { return *p; }
int crash(void) { count = 777; return read_from((int *)16); }
int hang(void) { for (;;) count++; }
int call(int (*f)(void)) { return f(); }
%s
]]):format(version, more or "")
end

local function states(plugin)
  local list = {}
  for _, image in ipairs(plugin:info().images) do list[#list + 1] = image.generation .. image.state end
  return table.concat(list, " ")
end

describe("a crash of the new image before it is live", function()
  it("refuses the reload also when the handler has caught it", function()
    local refused
    local plugin = t.load(source(1), { on = {
      before_load = function(new, old)
        if old then pcall(new.api.crash) end
      end,
      failed = function(report) refused = report end,
    } })
    plugin.api.bump()
    local _, report = t.swap(plugin, source(2))
    assert.are.equal("before_load", report.stage)
    assert.matches("the new image crashed in before_load: SIGSEGV in 'read_from' %(plugin '.-', generation 2%)",
      report.error)
    assert.are.equal(report, refused)
    assert.are.equal(1, plugin.api.version())
    assert.are.equal(2, plugin.api.bump())
    assert.are.equal("1live", states(plugin))
    assert.is_true(t.swap(plugin, source(3)) == nil) -- the handler crashes that one, too
  end)

  it("refuses it in a migration and through a callback", function()
    local plugin = t.load(source(1), { migrate = function(new)
      new.api.call(function() return select("#", pcall(new.api.crash)) end)
    end })
    plugin.api.bump()
    local _, report = t.swap(plugin, source(2))
    assert.are.equal("migrate", report.stage)
    assert.matches("the new image crashed in migrate", report.error)
    assert.are.equal(2, plugin.api.bump())
  end)

  it("refuses it in a rehearsal's function", function()
    local plugin = t.load(source(1), { rehearse = function(api) pcall(api.crash) end, name = "rehearsed" })
    local _, report = t.swap(plugin, source(2))
    assert.are.equal("rehearse", report.stage)
    assert.matches("the new image crashed: SIGSEGV", report.error)
    assert.are.equal(1, plugin.api.version())
  end)

  it("has the time limit of the plugin", function()
    local function enter(new, old)
      if old then new.api.hang() end
    end
    local options = {
      before_load = { on = { before_load = enter } }, migrate = { migrate = enter },
      rehearse = { rehearse = function(api) api.hang() end },
    }
    for stage, given in pairs(options) do
      given.guard = { timeout_ms = 30 }
      local plugin = t.load(source(1), given)
      local _, report = t.swap(plugin, source(2))
      assert.are.equal(stage, report.stage)
      assert.matches("timeout in 'hang' %(plugin '.-', generation 2%)", report.error)
      assert.are.equal(1, plugin.api.version())
    end
  end)
end)

describe("a crash of the live image during a reload", function()
  it("undoes the reload first, then puts the generation before back with the state as it was", function()
    local events = {}
    local plugin = t.load(source(1), {
      migrate = function(new, old)
        if new.generation == 3 then
          old.api.set(50)
          old.api.crash()
        end
      end,
      on = {
        failed = function() events[#events + 1] = "failed" end,
        rolled_back = function() events[#events + 1] = "rolled_back" end,
      },
    })
    assert(t.swap(plugin, source(2)))
    plugin.api.set(6)
    local _, report = t.swap(plugin, source(3))
    assert.are.equal("migrate", report.stage)
    assert.are.equal(2, report.from)
    assert.are.same({ "failed", "rolled_back" }, events)
    assert.are.equal(1, plugin.api.version())
    assert.are.equal(7, plugin.api.bump())
    assert.matches("^1live 2held", states(plugin))
  end)

  it("is not hidden by a pcall", function()
    local plugin = t.load(source(1), { on = { before_load = function(_, old)
      if old and old.generation == 2 then pcall(old.api.crash) end
    end } })
    assert(t.swap(plugin, source(2)))
    local _, report = t.swap(plugin, source(3))
    assert.matches("the live image crashed in before_load", report.error)
    assert.are.equal(1, plugin.api.version())
  end)

  it("in a 'loaded' handler is in the report", function()
    local plugin = t.load(source(1), { on = { loaded = function(plugin, report)
      if report.generation == 2 then pcall(plugin.api.crash) end
    end } })
    local _, report = t.swap(plugin, source(2))
    assert.is_false(report.ok)
    assert.matches("generation 2 was rolled back at once: SIGSEGV", report.error)
    assert.are.equal(1, report.generation)
    assert.are.equal(1, plugin.api.version())
  end)
end)

describe("a generation that has crashed", function()
  it("is not gone back to", function()
    local plugin = t.load(source(1))
    pcall(plugin.api.crash) -- there is none before it
    assert(t.swap(plugin, source(2)))
    local none, report = plugin:rollback()
    assert.is_nil(none)
    assert.matches("each older generation that is kept has crashed", report.error)
    pcall(plugin.api.crash)
    assert.are.equal(2, plugin.api.version())
  end)

  it("stays mapped also when it crashed in before_unload", function()
    local why
    local plugin = t.load(source(1), { keep = 0, on = {
      before_unload = function(old) pcall(old.api.crash) end,
      unloaded = function(generation, reason) if generation == 1 then why = reason end end,
    } })
    assert(t.swap(plugin, source(2)))
    t.await(function() return why end, 2000)
    assert.matches("it crashed: SIGSEGV", why)
    assert.matches("1held", states(plugin))
  end)
end)

describe("closing a plugin in its own reload", function()
  it("refuses the reload, and its functions raise", function()
    local plugin
    plugin = t.load(source(1), { migrate = function() plugin:close() end })
    local version = plugin.api.version
    local _, report = t.swap(plugin, source(2))
    assert.matches("the plugin was closed in migrate", report.error)
    assert.matches("^[^\n]*: refused at stage 'migrate': [^\n]*$", tostring(report))
    assert.has_error(version)
  end)
end)

describe("a process that a plugin forks", function()
  local plugin = t.build(source(1, [[
static int end_of(pid_t child) { int status; waitpid(child, &status, 0); return status; }
int leaves(void) { pid_t child = fork(); if (child == 0) _exit(7); return WEXITSTATUS(end_of(child)); }
int aborts(void) { pid_t child = fork(); if (child == 0) abort(); return WTERMSIG(end_of(child)); }
int faults(void) { pid_t child = fork(); if (child == 0) crash(); return WTERMSIG(end_of(child)); }
int lends(void) { pid_t child = vfork(); if (child == 0) _exit(9); return WEXITSTATUS(end_of(child)); }
]]))

  it("ends by its own exit and its own crash", function()
    local api = t.load(plugin).api
    assert.are.equal(7, api.leaves())
    assert.are.equal(6, api.aborts())
    assert.are.equal(11, api.faults())
    assert.are.equal(9, api.lends())
    assert.are.equal(1, api.version())
  end)
end)

describe("a resolver that crashes", function()
  it("is seen in the probe, though only asking for the function's address runs it", function()
    local plugin = t.load(source(1))
    local _, report = t.swap(plugin, [[
static int two(void) { return 2; }
static int (*choose(void))(void) { *(volatile int *)8 = 1; return two; }
int version(void) __attribute__((ifunc("choose")));
]])
    assert.are.equal("probe", report.stage)
    assert.matches("SIGSEGV", report.error)
    assert.are.equal(1, plugin.api.version())
  end)
end)
