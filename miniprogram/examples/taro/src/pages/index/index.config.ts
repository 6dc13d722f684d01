export default { navigationBarTitleText: 'wx-gateway' };
