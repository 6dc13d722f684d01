// Signs in without an AppID: the sandbox of `gateway dev` gives a code to whoever says a name.
const config = require('../config');

/** A `wx` whose `login` asks the sandbox. The name is kept, so that this phone is the same user tomorrow. */
function sandboxed(platform) {
  const login = ({ success, fail, complete }) => {
    const done = (callback, result) => {
      if (callback) callback(result);
      if (complete) complete(result);
    };
    platform.request({
      url: config.httpUrl + '/sandbox/login',
      method: 'POST',
      data: { user: nameOf(platform) },
      success: ({ statusCode, data }) =>
        statusCode === 200
          ? done(success, { code: data.code, errMsg: 'login:ok' })
          : done(fail, { errMsg: 'login:fail the sandbox answered ' + statusCode }),
      fail: ({ errMsg }) => done(fail, { errMsg: 'login:fail no gateway at ' + config.httpUrl + ', ' + errMsg }),
    });
  };
  return Object.assign(Object.create(platform), { login });
}

function nameOf(platform) {
  let user = platform.getStorageSync('demo-user');
  if (!user) {
    user = 'phone-' + Math.random().toString(36).slice(2, 8);
    platform.setStorageSync('demo-user', user);
  }
  return user;
}

module.exports = { sandboxed };
