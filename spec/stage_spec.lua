-- The directories of private copies: what a dead process left goes, what others called alike stays.
local t = require "hotlua.test"
local uv = require "luv"

describe("a process that starts", function()
  local parent = uv.fs_access("/dev/shm", "W") and "/dev/shm" or "/tmp"
  local made = {}
  after_each(function()
    for _, path in ipairs(made) do os.execute(("rm -rf '%s'"):format(path)) end
    made = {}
  end)

  local function make(name)
    local path = parent .. "/" .. name
    assert(uv.fs_mkdir(path, 448))
    made[#made + 1] = path
    t.write(path .. "/plugin.1.so", "left")
    return path
  end

  -- Load a plugin in a process of its own, which then prints its number.
  local function run()
    local script = t.write(t.tmpdir() .. "/main.lua", ([[
      require("hotlua").load(%q, { watch = false })
      print(require("luv").os_getpid())]]):format(t.build "int f(void) { return 1; }"))
    local pipe = assert(io.popen(("'%s' %s"):format(uv.exepath(), script)))
    local output = pipe:read("a")
    assert(pipe:close())
    return output:match("%d+")
  end

  it("deletes the private copies of a process that has died, and its own at its end", function()
    local left = make "hotlua-4194399-abcDEF" -- above any number that a process has (pid_max)
    local process = run()
    assert.is_nil(uv.fs_stat(left))
    local request = assert(uv.fs_scandir(parent))
    for name in function() return uv.fs_scandir_next(request) end do
      assert.is_nil(name:find("hotlua-" .. process, 1, true))
    end
  end)

  it("leaves alone what only has a similar name", function()
    local names = { "hotlua-mine", "hotlua-test-abcdef", "hotlua-4194399-abcdefg", "hotlua-4194399" }
    for i, name in ipairs(names) do names[i] = make(name) end
    run()
    for _, path in ipairs(names) do assert.is_table(uv.fs_stat(path .. "/plugin.1.so"), path) end
  end)
end)
