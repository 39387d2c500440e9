local hot = require "hotlua"
local t = require "hotlua.test"

local function take(ring)
  local value = hot.new("int[1]")
  return ring.api.ring_take(value) and value[0] or nil
end

describe("the ring", function()
  local ring
  before_each(function() ring = t.load(t.build("ring.c")) end)

  it("gives back in order what was put in", function()
    for i = 1, 3 do assert.is_true(ring.api.ring_put(i * 10)) end
    assert.are.same({ 10, 20, 30 }, { take(ring), take(ring), take(ring) })
    assert.is_nil(take(ring))
  end)

  it("is full at its capacity, whatever that is", function()
    local small = t.load(t.build("ring.c", "-DCAPACITY=2"))
    assert.is_true(small.api.ring_put(1) and small.api.ring_put(2))
    assert.is_false(small.api.ring_put(3))
    assert.are.equal(1, take(small))
    assert.is_true(small.api.ring_put(4))
  end)

  it("keeps what is in it when its capacity grows in a reload", function()
    ring.api.ring_put(7)
    assert(t.swap(ring, t.build("ring.c", "-DCAPACITY=64")))
    assert.are.equal(7, take(ring))
  end)

  it("wants an int, as C does", function()
    assert.error_matches(function() ring.api.ring_put("one") end, "bad argument #1 to 'ring_put' %(number expected")
    assert.error_matches(function() ring.api.ring_put(2 ^ 40) end, "bad argument #1 to 'ring_put'")
  end)
end)
