--- Whom a file is loaded from: ownership and permissions of the path, digest and signature of
--- the private copy.
local core = require "hotlua.core"

local M = {}

--- Is a file refused that others could have written, or put there? Where `verify` is given, and always for
--- root. The copy is made from the very file that was found good.
function M.is_needed(owner)
  return owner.options.verify ~= nil or core.needs_trust()
end

local function check_sha256(owner, handle, wanted)
  if type(wanted) ~= "string" or not wanted:find("^" .. ("%x"):rep(64) .. "$") then
    return ("%s: verify.sha256 is not a SHA-256 of 64 hexadecimal digits"):format(owner.path)
  end
  local found = core.sha256(handle)
  if found == wanted:lower() then return nil end
  return ("%s: its SHA-256 is %s, `verify` asks for %s"):format(owner.path, found, wanted)
end

local function check_minisign(owner, handle, key)
  if type(key) ~= "string" then return ("%s: verify.minisign is not a public key"):format(owner.path) end
  return core.check_minisign(handle, owner.path, owner.path .. ".minisig", key)
end

--- Checks what was copied, before anything of it is mapped. What is asked for must all hold.
function M.check_content(owner, handle, fail)
  local verify = owner.options.verify
  if not verify then return end
  local problem = verify.sha256 ~= nil and check_sha256(owner, handle, verify.sha256)
    or verify.minisign ~= nil and check_minisign(owner, handle, verify.minisign)
  if problem then fail("verify", problem) end
end

return M
