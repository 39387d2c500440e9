-- Typed heap objects in a reload that fails, and in a rollback: as they were, to the byte.
local hot = require "hotlua"
local t = require "hotlua.test"
local support = dofile "spec/support/heap.lua"
local source, has, bytes = support.source, support.has, support.bytes

describe("a reload that fails", function()
  local text = [[
    struct node { $FIRST int value; struct node *next; };
    struct bucket { struct node *first; int (*hash)(int); };
    struct bucket *bucket;
    static int hash(int x) { return x * $FACTOR; }
    void push(int value) {
      if (!bucket) { bucket = hot_new(struct bucket); bucket->hash = hash; }
      struct node *n = hot_new(struct node); n->value = value; n->next = bucket->first; bucket->first = n;
    }]]
  local before, after = source(text, { FACTOR = "1" }), source(text, { FACTOR = "2", FIRST = "long more;" })

  -- The old objects, byte by byte.
  local function all_bytes(plugin)
    local parts, node = { bytes(hot.address(plugin.api.bucket), 16) }, plugin.api.bucket.first
    while node do
      parts[#parts + 1] = bytes(hot.address(node), 16)
      node = node.next
    end
    return table.concat(parts)
  end

  local function start(options)
    local plugin = t.load(before, options)
    for i = 1, 200 do plugin.api.push(i) end
    return plugin, all_bytes(plugin), hot.address(plugin.api.bucket.first)
  end

  local function check(plugin, first, at)
    assert.are.equal(first, all_bytes(plugin))
    assert.are.equal(at, hot.address(plugin.api.bucket.first))
    assert.are.same({ 201, 201 * 16, 0 }, {
      plugin:info().heap.objects, plugin:info().heap.bytes, plugin:info().heap.old_bytes,
    })
    plugin.api.push(1)
    assert.are.equal(1, plugin.api.bucket.first.value)
  end

  it("in migrate leaves every object as it was, to the byte", function()
    local seen
    local plugin, first, at = start { migrate = function(new)
      seen = { new.api.bucket.first.more, new.api.bucket.first.value, new.api.bucket.first.next.value }
      new.api.bucket.first.value = 1000
      error "no way"
    end }
    local none, report = t.swap(plugin, after)
    assert.is_nil(none)
    assert.are.equal("migrate", report.stage)
    assert.are.same({ 0, 200, 199 }, seen)
    check(plugin, first, at)
  end)

  it("at the commit, too", function()
    local plugin, first, at = start()
    t.fail_at "commit"
    assert.is_nil((t.swap(plugin, after)))
    check(plugin, first, at)
    assert(t.swap(plugin, after))
    assert.are.equal(1, plugin.api.bucket.first.value)
  end)

  it("for a value that does not fit names the object", function()
    local plugin, first, at = start()
    local _, report = t.swap(plugin, source((text:gsub("int value", "signed char value", 1)), { FACTOR = "1" }))
    assert.are.equal("carry", report.stage)
    assert.matches("'struct node%[%d+%]%.value' is %d+ %(int%), which does not fit", report.error)
    check(plugin, first, at)
  end)

  it("undoes what the new image's code allocated and freed", function()
    local more = "void *make(void) { return hot_new(struct node); } void drop(struct node *n) { hot_free(n); }"
    local must_fail = true
    local plugin = t.load(before .. more, { migrate = function(new)
      new.api.make()
      new.api.drop(new.api.bucket.first)
      new.api.drop(new.api.bucket.first.next)
      if must_fail then error "no way" end
      new.api.bucket.first = nil
    end })
    for i = 1, 3 do plugin.api.push(i) end
    local first, at = all_bytes(plugin), hot.address(plugin.api.bucket.first)
    assert.is_nil((t.swap(plugin, after .. more)))
    assert.are.equal(first, all_bytes(plugin))
    assert.are.equal(at, hot.address(plugin.api.bucket.first))
    assert.are.equal(4, plugin:info().heap.objects)
    must_fail = false
    assert(t.swap(plugin, after .. more .. "int another;"))
    assert.are.equal(3, plugin:info().heap.objects)
  end)
end)

describe("rollback", function()
  it("brings objects back, to the byte", function()
    local text = [[
      struct node { $FIRST int value; float weight; struct node *next; }; struct node *head; void *any;
      void push(int value) {
        struct node *n = hot_new(struct node); n->value = value; n->weight = value / 4.0f; n->next = head; head = n;
      }
      int sum(void) { int s = 0; for (struct node *n = head; n; n = n->next) s += n->value; return s; }]]
    local plugin = t.load(source(text))
    for i = 1, 50 do plugin.api.push(i) end
    local function values()
      local list, node = {}, plugin.api.head
      while node do
        list[#list + 1] = bytes(hot.address(node), 8)
        node = node.next
      end
      return table.concat(list)
    end
    local first = values()
    assert(t.swap(plugin, source(text, { FIRST = "long added; double d;" })))
    plugin.api.push(51)
    local report = assert(plugin:rollback())
    assert.is_true(has(report.converted, "struct node"))
    assert.are.equal(51 * 52 // 2, plugin.api.sum())
    assert.are.equal(first, values():sub(9))
    plugin.api.push(52)
    assert.are.equal(52, plugin:info().heap.objects)
  end)

  it("finds objects through what only the older image has", function()
    local text = [[
      struct node { $FIRST int value; }; struct node *node; $EXTRA
      void start(void) { node = hot_new(struct node); node->value = 6; $SET }]]
    local plugin = t.load(source(text, { EXTRA = "struct { struct node *node; int *value; } own;",
      SET = "own.node = node; own.value = &node->value;" }))
    plugin.api.start()
    assert(t.swap(plugin, source(text, { FIRST = "double d;" })))
    plugin.api.node.value = 7
    assert(plugin:rollback())
    assert.are.equal(hot.address(plugin.api.node), hot.address(plugin.api.own.node))
    assert.are.same({ 7, 7 }, { plugin.api.own.node.value, plugin.api.own.value[0] })
  end)
end)
