-- hotlua test's own options: --isolate, --jobs, --limit, --watch, and tests in a process of their own.
local t = require "hotlua.test"
local uv = require "luv"

local program = assert(uv.exepath())

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs hotlua test in a folder; returns both streams and the exit status.
local function run(directory, arguments)
  local pipe = io.popen(("cd %s && %s test %s 2>&1"):format(quote(directory), quote(program), arguments))
  local output = pipe:read "a"
  local _, kind, code = pipe:close()
  return output, kind == "signal" and 128 + code or code
end

local crashing = [[
describe("crasher", function()
  it("is fine", function() end)
  it("dies", function() local uv = require "luv" uv.kill(uv.os_getpid(), "sigsegv") uv.sleep(5000) end)
  it("never comes", function() end)
end)
]]

local fine = [[
it("works", function() assert.is_true(true) end)
it("differs", function() assert.are.equal(1, 2) end)
pending("waits")
]]

describe("hotlua test", function()
  local directory
  before_each(function()
    directory = t.tmpdir()
  end)

  local function put(files)
    for name, text in pairs(files) do t.write(directory .. "/spec/" .. name, text) end
  end

  it("has busted's exit status, options, .busted file and handlers", function()
    put { ["a_spec.lua"] = fine }
    local output, status = run(directory, "")
    assert.matches("1 success / 1 failure / 0 errors / 1 pending", output)
    assert.are.equal(1, status)
    output, status = run(directory, "--filter works -o TAP")
    assert.matches("ok 1 %- works", output)
    assert.are.equal(0, status)
    t.write(directory .. "/.busted", "return { default = { lua = 'nothing', output = 'TAP' } }")
    assert.matches("not ok 2 %- differs", (run(directory, "")))
  end)

  it("takes arguments with spaces whole", function()
    put { ["a_spec.lua"] = [[it("has spaces", function() end) it("other", function() end)]] }
    local output, status = run(directory, "--filter='has spaces'")
    assert.matches("^%+\n1 success / 0 failures", output)
    assert.are.equal(0, status)
  end)

  it("refuses wrong options", function()
    local output, status = run(directory, "--jobs none")
    assert.matches("'%-%-jobs' needs a number", output)
    assert.are.equal(2, status)
    output, status = run(directory, "--nonsense")
    assert.matches("nonsense", output)
    assert.are.equal(1, status)
  end)

  describe("--isolate", function()
    it("reports a crash with the test's name, and goes on with the other files", function()
      put { ["a_spec.lua"] = crashing, ["b_spec.lua"] = fine }
      local output, status = run(directory, "--isolate")
      assert.matches("2 successes / 1 failure / 1 error / 1 pending", output)
      assert.matches("a_spec.lua: the process was killed by SIGSEGV in 'crasher dies'", output)
      assert.are.equal(1, status)
    end)

    it("puts output and results together in the order of the files", function()
      local files = {}
      for i = 1, 4 do
        files[("f%d_spec.lua"):format(i)] = ([[
          it("test %d", function() require("luv").sleep(%d) print("says %d") end)
        ]]):format(i, (5 - i) * 20, i)
      end
      put(files)
      local output, status = run(directory, "--jobs=4 -o TAP")
      assert.are.equal(0, status)
      local order = {}
      for word in output:gmatch "says (%d)" do order[#order + 1] = word end
      assert.are.same({ "1", "2", "3", "4" }, order)
      assert.matches("ok 1 %- test 1\n.*ok 2 %- test 2\n.*ok 3 %- test 3\n.*ok 4 %- test 4\n", output)
    end)

    it("ends what hangs, and reports what exits", function()
      put {
        ["a_spec.lua"] = [[it("hangs", function() while true do end end)]],
        ["b_spec.lua"] = [[it("leaves", function() os.exit(0) end)]],
        ["c_spec.lua"] = "syntax error here",
      }
      local output, status = run(directory, "--isolate --limit 0.5")
      assert.matches("hung: nothing came from it for 0.5 s in 'hangs'", output)
      assert.matches("exited with status 0 in 'leaves'", output)
      assert.matches("c_spec.lua:1: syntax error", output)
      assert.are.equal(1, status)
    end)
  end)

  describe("--watch", function()
    it("runs again what a changed file touches, the failures, and quits", function()
      put {
        ["a_spec.lua"] = [[local lib = require "lib" it("asks", function() assert.are.equal(1, lib) end)]],
        ["b_spec.lua"] = [[it("is alone", function() end)]],
      }
      t.write(directory .. "/lib.lua", "return 1")
      local input, output = uv.new_pipe(false), uv.new_pipe(false)
      local text, ended = "", nil
      local handle
      handle = uv.spawn(program, {
        args = { "test", "--watch" }, stdio = { input, output }, cwd = directory,
      }, function(code)
        handle:close()
        ended = code
      end)
      output:read_start(function(_, piece) text = text .. (piece or "") end)
      local function shows(pattern)
        local ok = pcall(t.await, function() return text:find(pattern) end, 5000)
        assert.is_true(ok, text)
      end
      shows "2 passed, 0 failed in 2 files"
      text = ""
      t.write(directory .. "/lib.lua", "return 2")
      shows "0 passed, 1 failed in 1 file,"
      text = ""
      input:write "f"
      shows "0 passed, 1 failed in 1 file,"
      text = ""
      t.write(directory .. "/lib.lua", "return 1")
      shows "1 passed, 0 failed in 1 file,"
      input:write "q"
      t.await(function() return ended end, 5000)
      assert.are.equal(0, ended)
      input:close()
      output:close()
    end)
  end)
end)

describe("t.isolated", function()
  t.isolated("runs in another process", function()
    assert.is_true(true)
  end)

  t.isolated("may crash on purpose", function()
    uv.kill(uv.os_getpid(), "sigkill")
    uv.sleep(5000)
  end, { signal = "SIGKILL" })

  t.isolated("may exit on purpose", function()
    os.exit(7)
  end, { status = 7 })

  it("fails the test that dies, and that does not die as expected", function()
    local directory = t.tmpdir()
    t.write(directory .. "/x_spec.lua", [[
      local t = require "hotlua.test"
      t.isolated("passes", function() end)
      t.isolated("asserts", function() assert.are.equal(1, 2) end)
      t.isolated("dies", function() os.exit(3) end)
      t.isolated("lives", function() end, "SIGSEGV")
    ]])
    local output, status = run(directory, "x_spec.lua")
    assert.matches("1 success / 3 failures / 0 errors", output)
    assert.matches("x_spec.lua:4: the test exited with status 3", output)
    assert.matches("expected the test to be killed by SIGSEGV: it came through", output)
    assert.are.equal(1, status)
  end)
end)
