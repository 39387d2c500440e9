local t = require "hotlua.test"

local here = debug.getinfo(1, "S").source:match("^@(.*)/spec/") or "."

describe("the kernel", function()
  local api
  before_each(function() api = t.load(here .. "/build/kernel.so").api end)

  it("comes near pi^2 / 6", function()
    assert.is_true(math.abs(api.zeta2(100000) - math.pi ^ 2 / 6) < 1e-4)
    assert.are.equal(1.25, api.zeta2(2))
  end)

  it("evaluates the polynomial", function()
    assert.are.equal(1.0, api.polynomial(0))
    assert.are.equal(2.5, api.polynomial(1))
  end)
end)
