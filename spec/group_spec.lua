-- Groups: all or none, at one instant.
local hot = require "hotlua"
local t = require "hotlua.test"

local function part(name, version, more)
  return ([[
    static int count;
    int %s_version(void) { return %d; }
    int %s_count(void) { return ++count; }
    %s
  ]]):format(name, version, name, more or "")
end

-- Puts a new version in the place of a plugin's file without loading it.
local function put(plugin, source)
  local path = plugin:info().path
  assert(os.execute(("cp %s %s.new && mv %s.new %s"):format(t.build(source), path, path, path)))
end

describe("a group", function()
  local a, b, group
  before_each(function()
    a, b = t.load(part("a", 1), { watch = false }), t.load(part("b", 1), { watch = false })
    group = hot.group { a, b }
  end)

  it("reloads all members, each with its state", function()
    a.api.a_count()
    b.api.b_count()
    put(a, part("a", 2))
    put(b, part("b", 2))
    local report = assert(group:reload())
    assert.is_true(report.ok)
    assert.are.equal(2, a.api.a_version())
    assert.are.equal(2, b.api.b_version())
    assert.are.equal(2, a.api.a_count())
    assert.are.equal(2, b.api.b_count())
  end)

  it("reloads none when one is refused", function()
    put(a, part("a", 2))
    put(b, "int b_version(void) { return missing_function(); }")
    local report, refusal = group:reload()
    assert.is_nil(report)
    assert.matches("missing_function", refusal.error)
    assert.are.equal("open", refusal.stage)
    assert.are.equal(1, a.api.a_version())
    assert.are.equal(1, b.api.b_version())
    assert.are.equal(1, a:info().generation)
  end)

  it("shows nobody the new a with the old b", function()
    put(a, part("a", 2))
    put(b, part("b", 2))
    local seen = {}
    for _, plugin in ipairs { a, b } do
      plugin:on("before_load", function() seen[#seen + 1] = a.api.a_version() + 10 * b.api.b_version() end)
      plugin:on("loaded", function() seen[#seen + 1] = a.api.a_version() + 10 * b.api.b_version() end)
    end
    assert(group:reload())
    assert.are.same({ 11, 11, 22, 22 }, seen)
  end)

  for _, stage in ipairs { "before_load", "carry", "migrate", "commit" } do
    it("is undone whole by a failure at " .. stage, function()
      put(a, part("a", 2))
      put(b, part("b", 2))
      t.fail_at(stage)
      local report = group:reload()
      assert.is_nil(report)
      assert.are.equal(1, a.api.a_version())
      assert.are.equal(1, b.api.b_version())
      assert(group:reload())
      assert.are.equal(2, a.api.a_version())
      assert.are.equal(2, b.api.b_version())
    end)
  end

  it("tells of the whole", function()
    local loaded, failed
    group:on("loaded", function(_, report) loaded = report end)
    group:on("failed", function(report) failed = report end)
    put(a, part("a", 2))
    assert(group:reload())
    assert.is_true(loaded.ok)
    put(b, "int nothing_else;int f(void) { return missing_function(); }")
    group:reload()
    assert.is_false(failed.ok)
  end)

  it("takes no plugin twice", function()
    assert.error_matches(function() hot.group { a } end, "is in a group already")
    assert.error_matches(function() hot.group {} end, "list of plugins expected")
  end)
end)

describe("a watched group", function()
  it("makes one reload of the changes of several files", function()
    local a, b = t.load(part("a", 1)), t.load(part("b", 1))
    local group = hot.group { a, b }
    local loads = 0
    group:on("loaded", function() loads = loads + 1 end)
    put(a, part("a", 2))
    put(b, part("b", 2))
    t.await(function() return loads > 0 end)
    t.await(function() return a.api.a_version() == 2 and b.api.b_version() == 2 end)
    assert.are.equal(2, a:info().generation)
    assert.are.equal(2, b:info().generation)
  end)
end)
