-- Policies, automatic reloads, superseding and safe points.
local hot = require "hotlua"
local t = require "hotlua.test"

local function source(version)
  return ("int version(void) { return %d; }\n"):format(version)
end

local function put(plugin, c_source)
  local file <close> = assert(io.open(t.build(c_source), "rb"))
  t.write(plugin:info().path .. ".next", file:read("a"))
  assert(os.rename(plugin:info().path .. ".next", plugin:info().path))
end

local function reaches(plugin, generation)
  t.await(function() return plugin:info().generation == generation end, 3000)
end

describe("policy tested", function()
  local function plugin_source(sum)
    return "int add(int a, int b) { return " .. sum .. "; }"
  end

  local function load(spec)
    local directory = t.tmpdir()
    local path = directory .. "/adder.so"
    t.write(path, assert(io.open(t.build(plugin_source "a + b"), "rb")):read("a"))
    t.write(directory .. "/adder_spec.lua", spec:gsub("PATH", path))
    local failed
    local plugin = t.load(path, {
      policy = hot.policy.tested(directory .. "/adder_spec.lua", 2),
      on = { failed = function(report) failed = report end },
    })
    return plugin, function() return failed end
  end

  local spec = [[
local t = require "hotlua.test"
it("adds", function() assert.equal(5, t.load("PATH").api.add(2, 3)) end)
]]

  it("takes a version that passes", function()
    local plugin = load(spec)
    put(plugin, plugin_source "b + a + 0")
    t.await(function() return plugin:info().generation == 2 end, 20000)
  end)

  it("refuses one that fails, with busted's words", function()
    local plugin, failed = load(spec)
    put(plugin, plugin_source "a - b")
    t.await(failed, 20000)
    assert.equal("settle", failed().stage)
    assert.matches("adder_spec.lua: 0 successes / 1 failure.*adds.*Expected objects to be equal", failed().error)
    assert.equal(5, plugin.api.add(2, 3))
  end)

  it("refuses one that never ends", function()
    local plugin, failed = load(spec)
    put(plugin, "int add(int a, int b) { for (;;) ; return a + b; }")
    t.await(failed, 20000)
    assert.matches("adder_spec.lua", failed().error)
    assert.equal(5, plugin.api.add(2, 3))
  end)
end)

describe("a changed file", function()
  it("is taken at once by default", function()
    local plugin = t.load(source(1))
    put(plugin, source(2))
    reaches(plugin, 2)
    assert.are.equal(2, plugin.api.version())
  end)

  it("keeps its state also where the policy has looked at the differences", function()
    local counting = "static int count; int tick(void) { return ++count; } int version(void) { return %d; }"
    local plugin = t.load(counting:format(1), { policy = function(change) return #change:diff().reset == 0 end })
    plugin.api.tick()
    put(plugin, counting:format(2))
    reaches(plugin, 2)
    assert.are.equal(2, plugin.api.tick())
  end)

  it("is not a change when its content is the live image's", function()
    local changes = 0
    local plugin = t.load(source(1), { on = { changed = function() changes = changes + 1 end } })
    put(plugin, source(1))
    put(plugin, source(2))
    reaches(plugin, 2)
    assert.are.equal(1, changes)
  end)

  it("is seen by a script that never returns to the loop", function()
    local seen
    local plugin = t.load(source(1), { on = { loaded = function(_, report) seen = report.generation end } })
    local version = plugin.api.version
    put(plugin, source(2))
    local limit = os.time() + 10
    while version() == 1 do assert(os.time() < limit, "the change never came") end
    assert.are.equal(2, seen)
  end)

  it("is seen at a safe point also while its policy waits", function()
    local plugin = t.load(source(1), { policy = hot.policy.settle(30) })
    local version = plugin.api.version
    put(plugin, source(2))
    local limit = os.time() + 10
    while version() == 1 do assert(os.time() < limit, "the change never came") end
  end)

  it("is served by hot.poll", function()
    local plugin = t.load(source(1))
    put(plugin, source(2))
    local limit = os.time() + 10
    while plugin:info().generation == 1 do
      hot.poll()
      assert(os.time() < limit)
    end
    assert.are.equal(2, plugin.api.version())
  end)

  it("that fails is reported, and not tried again until the content changes", function()
    local reports = {}
    local plugin = t.load(source(1), { on = { failed = function(report) reports[#reports + 1] = report end } })
    t.write(plugin:info().path .. ".next", "not a shared object at all")
    os.rename(plugin:info().path .. ".next", plugin:info().path)
    t.await(function() return reports[1] end, 3000)
    assert.are.equal("verify", reports[1].stage)
    assert.are.equal(1, plugin.api.version())
    put(plugin, source(3))
    reaches(plugin, 2)
    assert.are.equal(3, plugin.api.version())
    assert.are.equal(1, #reports)
  end)
end)

describe("a policy", function()
  it("gets the change, may wait, and its false refuses with the reason", function()
    local seen, failed
    local plugin = t.load(source(1), {
      policy = function(change)
        seen = { change.path, change.bytes, change.build_id, change.attempt, change.plugin, change:superseded() }
        change:sleep(5)
        return false, "not now"
      end,
      on = { failed = function(report) failed = report end },
    })
    put(plugin, source(2))
    t.await(function() return failed end, 3000)
    assert.matches("not now", failed.error)
    assert.are.equal(plugin:info().path, seen[1])
    assert.is_true(seen[2] > 1000)
    assert.is_string(seen[3])
    assert.are.equal(1, seen[4])
    assert.are.equal(plugin, seen[5])
    assert.is_false(seen[6])
    assert.are.equal(1, plugin.api.version())
  end)

  it("that raises refuses the change", function()
    local failed
    local plugin = t.load(source(1), {
      policy = function() error("policy broke") end,
      on = { failed = function(report) failed = report end },
    })
    put(plugin, source(2))
    t.await(function() return failed end, 3000)
    assert.matches("policy broke", failed.error)
    assert.are.equal(1, plugin.api.version())
  end)

  it("manual leaves the change to reload()", function()
    local changed
    local plugin = t.load(source(1), {
      policy = hot.policy.manual, on = { changed = function() changed = true end },
    })
    put(plugin, source(2))
    t.await(function() return changed end, 3000)
    assert.are.equal(1, plugin.api.version())
    assert(plugin:reload())
    assert.are.equal(2, plugin.api.version())
  end)

  it("sees that a newer change came, and only the newest is taken", function()
    local asked = {}
    local plugin
    plugin = t.load(source(1), { policy = function(change)
      asked[#asked + 1] = change.attempt
      if #asked == 1 then
        put(plugin, source(3))
        change:wait(function() return change:superseded() end, 2000)
      end
      return true
    end })
    local loaded = {}
    plugin:on("loaded", function() loaded[#loaded + 1] = plugin.api.version() end)
    put(plugin, source(2))
    t.await(function() return plugin.api.version() == 3 end, 3000)
    assert.are.same({ 3 }, loaded)
    assert.are.equal(2, #asked)
  end)

  it("is asked once for a version that came while it waited", function()
    local asked, changed = {}, 0
    local plugin = t.load(source(1), {
      policy = function(change)
        local limit = #asked == 0 and 10000 or 400 -- the first until the next version has come
        local waited = { change:wait(function() return false end, limit), change:superseded() }
        asked[#asked + 1] = waited
        return true
      end,
      on = { changed = function() changed = changed + 1 end },
    })
    put(plugin, source(2))
    t.await(function() return changed == 1 end)
    put(plugin, source(3))
    reaches(plugin, 2)
    hot.sleep(300)
    assert.are.equal(3, plugin.api.version())
    assert.are.same({ { false, true }, { false, false } }, asked)
    assert.are.equal(2, changed)
  end)

  it("idle waits for its predicate", function()
    local idle = false
    local plugin = t.load(source(1), { policy = hot.policy.idle(function() return idle end) })
    local changed
    plugin:on("changed", function() changed = true end)
    put(plugin, source(2))
    t.await(function() return changed end, 3000)
    assert.are.equal(1, plugin.api.version())
    idle = true
    reaches(plugin, 2)
  end)

  it("all asks each in turn, window knows midnight, compatible refuses a broken signature", function()
    local take = function() return true end
    local refuse = function() return false, "second" end
    assert.is_true(hot.policy.all(take, take)({}))
    local verdict, reason = hot.policy.all(take, refuse)({})
    assert.is_false(verdict)
    assert.are.equal("second", reason)
    local night = hot.policy.window("22:00", "06:00", function() return { hour = 23, min = 30 } end)
    assert.is_true(night({}))
    assert.error_matches(function() hot.policy.window("25:00", "06:00") end, "25:00")
    for _, hours in ipairs { { "00:00", "24:00" }, { "07:00", "07:00" } } do
      local day = hot.policy.window(hours[1], hours[2], function() return { hour = 23, min = 59 } end)
      assert.is_true(day {})
    end
  end)

  it("says at once what is wrong with its arguments", function()
    local policy = hot.policy
    local function says(message, fn, ...)
      local ok, problem = pcall(fn, ...)
      assert.is_false(ok)
      assert.matches("bad argument #" .. message, problem, 1, true)
    end
    says("1 to 'hot.policy.settle' (number expected, got string)", policy.settle, "soon")
    says("1 to 'hot.policy.idle' (function expected, got nil)", policy.idle)
    says("1 to 'hot.policy.tested' (string expected, got nil)", policy.tested)
    says("2 to 'hot.policy.window' (string expected, got nil)", policy.window, "22:00")
    says("2 to 'hot.policy.all' (function expected, got nil)", policy.all, policy.manual, nil)
    local failed
    local plugin = t.load("int f(int x) { return x; }", {
      policy = hot.policy.compatible, on = { failed = function(report) failed = report end },
    })
    put(plugin, "double f(double x) { return x; }")
    t.await(function() return failed end, 3000)
    assert.matches("'f'", failed.error)
    assert.are.equal(3, plugin.api.f(3))
  end)
end)

describe("reload() in a task", function()
  it("yields until it is done", function()
    local plugin = t.load(source(1), { watch = false })
    local order = {}
    put(plugin, source(2))
    hot.spawn(function()
      order[#order + 1] = "before"
      local report = assert(plugin:reload())
      order[#order + 1] = report.generation
    end)
    order[#order + 1] = "main"
    t.await(function() return #order == 3 end, 3000)
    assert.are.same({ "before", "main", 2 }, order)
  end)

  it("works inside a callback of the loop too", function()
    local uv = require "luv"
    local plugin = t.load(source(1), { watch = false })
    put(plugin, source(2))
    local generation
    local timer = uv.new_timer()
    timer:start(1, 0, function()
      timer:close()
      generation = assert(plugin:reload()).generation
    end)
    t.await(function() return generation end, 3000)
    assert.are.equal(2, generation)
  end)
end)

describe("build on save", function()
  it("builds, shows the compiler's words, and reloads", function()
    local dir = t.tmpdir()
    local c, so = dir .. "/p.c", dir .. "/p.so"
    t.write(c, source(1))
    local shown = {}
    local build = require "hotlua.build"
    local show = build.show
    build.show = function(text) shown[#shown + 1] = text end
    finally(function() build.show = show end)
    local failed, loaded
    local plugin = t.load(so, {
      watch = { c }, build = ("cc -g -shared -fPIC -o %s %s"):format(so, c),
      on = {
        failed = function(report) failed = report end,
        loaded = function(_, report) loaded = report end,
      },
    })
    assert.are.equal(1, plugin.api.version())
    t.write(c, "int version(void) { return 2 }")
    t.await(function() return failed end, 10000)
    assert.are.equal("build", failed.stage)
    assert.matches("expected", failed.error)
    assert.matches("expected", table.concat(shown))
    assert.are.equal(1, plugin.api.version())
    loaded = nil
    t.write(c, source(3))
    t.await(function() return loaded end, 10000)
    assert.are.equal(3, plugin.api.version())
    assert.is_true(loaded.us.build > 0)
    assert.is_true(loaded.total_us >= loaded.us.build)
  end)

  it("may be a function, whose false or error is a failure", function()
    local dir = t.tmpdir()
    local c, so = dir .. "/q.c", dir .. "/q.so"
    t.write(c, source(1))
    local fail = false
    local failed
    local plugin = t.load(so, {
      watch = { c }, on = { failed = function(report) failed = report end },
      build = function()
        if fail then return false, "no compiler today" end
        assert(os.execute(("cc -g -shared -fPIC -o %s %s"):format(so, c)))
      end,
    })
    fail = true
    t.write(c, source(2))
    t.await(function() return failed end, 10000)
    assert.matches("no compiler today", failed.error)
    assert.are.equal(1, plugin.api.version())
  end)
end)
