-- Much state is copied while the program goes on writing to it.
local hot = require "hotlua"
local t = require "hotlua.test"

local source = [[
  enum { COUNT = 6 << 20 };
  static unsigned char first, cells[COUNT + 3];
  static long total;
  static unsigned seed = 1;
  void work(int steps) {
    for (int i = 0; i < steps; i++) {
      seed = seed * 1664525u + 1013904223u;
      cells[seed % (COUNT - 1) + 1]++;
      total++;
    }
    first++;
  }
  void fill(void) { for (int i = 1; i < COUNT; i++) { cells[i]++; total++; } }
  void edges(int x) { cells[0] = cells[COUNT + 2] = x; }
  int edge_sum(void) { return cells[0] + cells[COUNT + 2]; }
  long off_by(void) {
    long sum = 0;
    for (int i = 1; i < COUNT; i++) sum += cells[i];
    return (sum - total) % 256;
  }
]]

describe("state that is copied ahead", function()
  local plugin
  before_each(function() plugin = t.load(source) end)

  -- Reloads in a task while `meanwhile` is called at every turn of the loop.
  local function reload(text, meanwhile)
    local report, refusal
    hot.spawn(function() report, refusal = t.swap(plugin, text) end)
    t.await(function()
      if report or refusal then return true end
      meanwhile()
      return false
    end)
    return assert(report, refusal)
  end

  it("misses nothing that was written meanwhile", function()
    plugin.api.fill()
    for i = 1, 8 do
      local report = reload(source .. ("int more[%d];"):format(i * 100), function() plugin.api.work(200) end)
      assert.is_true(#report.reset == 0 and #report.conflicts == 0)
      assert.are.equal(0, plugin.api.off_by())
      plugin.api.edges(i)
    end
    assert(t.swap(plugin, source))
    assert.are.equal(16, plugin.api.edge_sum())
  end)

  it("is whole where little of it was written", function()
    plugin.api.work(3)
    plugin.api.edges(7)
    assert(t.swap(plugin, source .. "int more;"))
    assert.are.equal(14, plugin.api.edge_sum())
  end)

  it("is not seen by a `before_load` handler, also a late one", function()
    plugin.api.fill()
    local seen = {}
    local function look(new) seen[#seen + 1] = new.api.edge_sum() end
    plugin.api.edges(5)
    local is_added = false
    reload(source .. "int more;", function()
      if not is_added then plugin:on("before_load", look) end
      is_added = true
    end)
    assert.are.equal(10, plugin.api.edge_sum())
    assert(t.swap(plugin, source))
    assert.are.same({ 0, 0 }, seen)
    assert.are.same({ 10, 0 }, { plugin.api.edge_sum(), plugin.api.off_by() })
  end)

  it("stays in the old image when the reload is refused", function()
    plugin.api.fill()
    plugin.api.edges(9)
    t.fail_at("commit")
    assert.is_nil((t.swap(plugin, source .. "int more;")))
    plugin.api.work(10)
    assert.are.equal(18, plugin.api.edge_sum())
    assert(t.swap(plugin, source .. "int others;"))
    assert(plugin:rollback())
    assert.are.equal(18, plugin.api.edge_sum())
  end)
end)
