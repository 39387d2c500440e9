-- hotlua.test: what its functions do, what they say when they fail, and that nothing is left.
local hot = require "hotlua"
local t = require "hotlua.test"
local task = require "hotlua.task"
local uv = require "luv"

local v1 = "static int count; int limit = 10; int next(void) { return ++count; }"
local v2 = "static int count; int limit = 10; int next(void) { return count += 10; }"

-- Runs a spec in a process of its own; returns what it prints and its exit status.
local function run_spec(text)
  local directory = t.tmpdir()
  local head = "local hot, t, uv = require 'hotlua', require 'hotlua.test', require 'luv'\n"
  t.write(directory .. "/x_spec.lua", head .. text)
  local pipe = io.popen(("cd %s && %s test x_spec.lua 2>&1"):format(directory, uv.exepath()))
  local output = pipe:read "a"
  local _, _, code = pipe:close()
  return output, code
end

describe("t.build", function()
  it("compiles a string once, with flags, and gives the compiler's words", function()
    local path = t.build(v1)
    assert.are.equal(path, t.build(v1))
    assert.are_not.equal(path, t.build(v1, "-O2"))
    assert.error_matches(function() t.build("int x = ;") end, "refuses the source.*plugin.c:1:9: error")
  end)

  it("takes several sources, and headers by name", function()
    local path = t.build { "int one(void) { return 1; }", "int one(void); int two(void) { return one() + 1; }" }
    assert.are.equal(2, t.load(path).api.two())
    path = t.build { ["a.h"] = "#define THREE 3", ["a.c"] = "#include \"a.h\"\nint three(void) { return THREE; }" }
    assert.are.equal(3, t.load(path).api.three())
  end)

  it("takes the path of a C file, compiled again when it changes", function()
    local path = t.write(t.tmpdir() .. "/sub/answer.c", "int answer(void) { return 1; }")
    assert.are.equal(1, t.load(t.build(path)).api.answer())
    t.write(path, "int answer(void) { return 2; }")
    assert.are.equal(2, t.load(t.build(path)).api.answer())
  end)
end)

describe("t.load and t.swap", function()
  it("leave what t.build gave as it was", function()
    local path = t.build(v1)
    local plugin = t.load(path)
    assert(t.swap(plugin, v2))
    assert.are.equal(10, plugin.api.next())
    assert.are.equal(1, t.load(path).api.next())
  end)

  it("close the plugin at the end of the test", function()
    local output, status = run_spec [[
      local kept
      it("loads", function() kept = t.load("int f(void) { return 1; }") hot.load(t.build("int g(void) { return 2; }")) end)
      it("has none", function()
        assert.are.same({}, hot.plugins())
        assert.error_matches(function() kept.api.f() end, "closed")
      end)
    ]]
    assert.matches("2 successes / 0 failures / 0 errors", output)
    assert.are.equal(0, status)
  end)

  it("reload once, not again for the watch", function()
    local loaded = 0
    local plugin = t.load(v1, { on = { loaded = function() loaded = loaded + 1 end } })
    assert(t.swap(plugin, v2))
    local quiet = false
    local timer <close> = hot.after(200, function() quiet = true end)
    t.await(function() return quiet end)
    assert.are.equal(2, loaded)
    assert.is_table(timer)
  end)

  it("give what belongs to a describe until its end", function()
    local output = run_spec [[
      describe("a group", function()
        local plugin, timer
        setup(function() plugin = t.load("int f(void) { return 1; }") timer = uv.new_timer() end)
        teardown(function() timer:close() end)
        it("has it", function() assert.are.equal(1, plugin.api.f()) end)
        it("has it still", function() assert.are.equal(1, plugin.api.f()) end)
      end)
      it("has it no more", function() assert.are.same({}, hot.plugins()) end)
    ]]
    assert.matches("3 successes / 0 failures / 0 errors", output)
  end)
end)

describe("t.await", function()
  it("returns what the predicate returned, running the loop meanwhile", function()
    local value
    local timer <close> = hot.after(5, function() value = "came" end)
    assert.are.equal("came", t.await(function() return value end, 1000))
    assert.is_table(timer)
  end)

  it("fails with the line when it does not come", function()
    assert.error_matches(function() t.await(function() return false end, 20) end, "within 20 ms")
  end)

  it("raises the original error of a callback", function()
    local failure = setmetatable({}, { __tostring = function() return "original" end })
    local timer = uv.new_timer()
    timer:start(1, 0, function()
      timer:close()
      error(failure)
    end)
    local ok, problem = pcall(t.await, function() return false end, 1000)
    assert.is_false(ok)
    assert.are.equal(failure, problem)
  end)

  it("works in a task", function()
    local done, value
    hot.spawn(function()
      value = t.await(function() return done end, 1000)
    end)
    done = 5
    t.await(function() return value end, 1000)
    assert.are.equal(5, value)
  end)
end)

describe("a test", function()
  it("fails by what fails in its callbacks, and the run goes on", function()
    local output, status = run_spec [[
      it("luv", function()
        local timer = uv.new_timer()
        timer:start(1, 0, function() timer:close() assert.are.equal("one", "two") end)
        t.await(function() return false end, 1000)
      end)
      it("unawaited", function()
        hot.spawn(function() assert.are.equal("three", "four") end)
      end)
      it("event", function()
        local plugin = t.load("int v = 1;", { on = { loaded = function() error("handler broke") end } })
      end)
      it("goes on", function() end)
    ]]
    assert.matches("1 success / 2 failures / 1 error", output)
    assert.matches("x_spec.lua:4:.*two.*one", output)
    assert.matches("x_spec.lua:8:.*four.*three", output)
    assert.matches("handler broke", output)
    assert.are.equal(1, status)
  end)

  it("fails by a handle it leaves open, with the place, and the handle is closed", function()
    local output, status = run_spec [[
      it("leaves a timer", function()
        uv.new_timer():start(100000, 0, print)
      end)
      it("leaves a repeating one", function()
        hot.every(1000, print)
      end)
      describe("with after_each", function()
        local timer
        before_each(function() timer = uv.new_timer() end)
        after_each(function() timer:close() end)
        it("leaves nothing", function() end)
      end)
      it("finds none", function() uv.walk(function(handle) error(tostring(handle)) end) end)
    ]]
    assert.matches("2 successes / 2 failures / 0 errors", output)
    assert.matches("x_spec.lua:3: a luv timer made here was left open", output)
    assert.matches("x_spec.lua:6: a luv timer made here was left open", output)
    assert.are.equal(1, status)
  end)

  it("has its folders removed", function()
    local output = run_spec [[
      local path
      it("makes", function() path = t.tmpdir() t.write(path .. "/a/b/c", "x") assert.is_table(uv.fs_stat(path .. "/a/b/c")) end)
      it("has none", function() assert.is_nil((uv.fs_stat(path))) end)
    ]]
    assert.matches("2 successes / 0 failures / 0 errors", output)
  end)

  it("runs under busted --lua too", function()
    if not os.execute "command -v busted >/dev/null" then return pending "busted is not installed" end
    local directory = t.tmpdir()
    for _, name in ipairs { "a", "b" } do
      t.write(("%s/spec/%s_spec.lua"):format(directory, name), [[
        local t = require "hotlua.test"
        it("loads", function() assert.are.equal(1, t.load("int f(void) { return 1; }").api.f()) end)
        it("leaves", function() require("luv").new_timer() end)
      ]])
    end
    local pipe = io.popen(("cd %s && busted --lua=%s spec 2>&1"):format(directory, uv.exepath()))
    local output = pipe:read "a"
    pipe:close()
    assert.matches("2 successes / 2 failures / 0 errors", output)
  end)
end)

describe("t.fail_at and t.each_stage", function()
  it("fail the next reload, not the next load, and only that", function()
    t.fail_at("carry")
    local plugin = t.load(v1)
    local _, report = t.swap(plugin, v2)
    assert.are.equal("carry", report.stage)
    assert(plugin:reload())
    assert.error_matches(function() t.fail_at("carri") end, "no stage 'carri'")
  end)

  it("go through every stage", function()
    local seen = {}
    t.each_stage(function(stage)
      local plugin = t.load(v1)
      local _, report = t.swap(plugin, v2)
      assert.are.equal(stage, report.stage)
      seen[#seen + 1] = stage
    end)
    assert.are.equal("detect", seen[1])
    assert.are.equal("commit", seen[#seen])
    assert.is_true(#seen >= 11)
    assert.are.same({}, hot.plugins())
  end)
end)

describe("t.versions and t.roundtrip", function()
  it("run over every ordered pair", function()
    local pairs_seen = {}
    local count = t.versions({ v1, v2, v1 .. "int more;" }, function(from, to, i, j)
      local plugin = t.load(from)
      assert(t.swap(plugin, to))
      pairs_seen[#pairs_seen + 1] = i .. j
    end)
    assert.are.equal(6, count)
    assert.are.same({ "12", "13", "21", "23", "31", "32" }, pairs_seen)
    local ok, problem = pcall(t.versions, { v1, v2, function() error("broke") end })
    assert.is_false(ok)
    assert.matches("versions 1 to 2: .*broke", problem)
  end)

  it("there and back keeps the state, or says what was lost", function()
    local plugin = t.roundtrip(v1, v2)
    assert.are.equal(3, plugin:info().generation)
    assert.error_matches(function()
      t.roundtrip(v1, "int limit = 10; int next(void) { return 0; }", { carry = "all" })
    end, "lost state")
    assert.error_matches(function() t.roundtrip(v1, v2, function() end) end, "was not changed")
  end)
end)

describe("t.crash", function()
  for _, kind in ipairs { "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT", "stack", "null", "assert", "heap" } do
    it("gives a function that crashes: " .. kind, function()
      local plugin = t.load(t.crash(kind), { guard = { crash = "error" } })
      assert.error_matches(function() plugin.api.crash() end, kind:match "^SIG%u+" or "SIG")
    end)
  end

  it("knows other names, and says which there are", function()
    assert.are.equal(t.crash "SIGSEGV", t.crash "segv")
    assert.error_matches(function() t.crash("flood") end, "no kind 'flood'; there are SIGABRT")
  end)
end)

describe("the assertions", function()
  it("reloaded", function()
    local plugin = t.load(v1)
    assert.is_not.reloaded(plugin)
    assert(t.swap(plugin, v2))
    assert.reloaded(plugin)
    assert.reloaded(plugin, 1)
    assert.is_not.reloaded(plugin, 2)
    t.fail_at("bind")
    t.swap(plugin, v1)
    assert.error_matches(function() assert.reloaded(plugin, 2) end, "Expected a reload from 2: .*refused at stage 'bind'")
  end)

  it("refused", function()
    local plugin = t.load(v1, { expect = { "next" } })
    assert.refused(plugin, "int other;")
    assert.refused(plugin, "int another;", "does not export 'next'")
    assert.error_matches(function() assert.refused(plugin, "int third;", "moon") end, "another reason than 'moon'")
    assert.error_matches(function() assert.refused(plugin, v2) end, "Expected a refusal: .*is live")
  end)

  it("carries", function()
    local plugin = t.load(v1)
    plugin.api.limit = 77
    assert.carries(plugin, "limit", v2)
    assert.error_matches(function()
      assert.carries(plugin, "limit", "int next(void) { return 1; }")
    end, "'limit' was 77 and is nil")
  end)

  it("rolled_back and unloaded", function()
    local plugin = t.load(v1, { keep = 1 })
    assert.error_matches(function() assert.unloaded(plugin, 1) end, "Generation 1 is still loaded, live")
    assert(t.swap(plugin, v2))
    assert(plugin:rollback())
    assert.rolled_back(plugin)
    assert.unloaded(plugin, 2)
  end)
end)

describe("errors outside of tests", function()
  it("are still told by task.on_error", function()
    local told
    local before = task.on_error
    task.on_error = function(message) told = message end
    finally(function() task.on_error = before end)
    hot.spawn(function() error("in a task") end)
    assert.matches("in a task", told)
  end)
end)
