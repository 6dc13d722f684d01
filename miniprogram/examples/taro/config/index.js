module.exports = {
  projectName: 'wx-gateway-example-taro',
  date: '2026-1-1',
  designWidth: 750,
  deviceRatio: { 640: 1.17, 750: 1, 828: 0.905 },
  sourceRoot: 'src',
  outputRoot: `dist/${process.env.TARO_ENV}`,
  framework: 'react',
  compiler: { type: 'webpack5', prebundle: { enable: false } },
  cache: { enable: false },
  mini: {},
  h5: { publicPath: '/', staticDirectory: 'static' },
};
